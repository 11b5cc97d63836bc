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


def _check(request: ConverseRequest | ConverseStreamRequest, invocation: ModelInvocation) -> None:
    check(request)
    if request.service_tier is not None:
        invocation.service_tier = request.service_tier.type


class Converse:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def converse(
        self, invocation: ModelInvocation, request: ConverseRequest
    ) -> ConverseResponse:
        _check(request, invocation)
        events = await self._inference.events(invocation, request.model_id, request)
        try:
            return collected(await events.rest())
        finally:
            await events.aclose()

    async def converse_stream(
        self, invocation: ModelInvocation, request: ConverseStreamRequest
    ) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them."""
        _check(request, invocation)
        return await self._inference.events(invocation, request.model_id, request)
