"""Converse and ConverseStream: one conversation in, one message of a model out."""

from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.conversation import check
from outcrop.runtime.events import Events
from outcrop.runtime.inference import Inference
from outcrop.runtime.message import collected
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseResponse,
    ConverseStreamRequest,
)


class Converse:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def converse(
        self, invocation: ModelInvocation, request: ConverseRequest
    ) -> ConverseResponse:
        _note(invocation, request)
        check(request)
        events = await self._inference.events(invocation, request.model_id, request, whole=True)
        try:
            return collected(await events.rest())
        finally:
            await events.aclose()

    async def converse_stream(
        self, invocation: ModelInvocation, request: ConverseStreamRequest
    ) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them."""
        _note(invocation, request)
        check(request)
        return await self._inference.events(invocation, request.model_id, request)


def _note(invocation: ModelInvocation, request: ConverseRequest | ConverseStreamRequest) -> None:
    """Before anything is refused: refusals are recorded, too."""
    invocation.model_id = request.model_id
    invocation.request_metadata = request.request_metadata
    if request.service_tier is not None:
        invocation.service_tier = request.service_tier.type
