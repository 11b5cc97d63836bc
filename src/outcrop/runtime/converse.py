"""Converse and ConverseStream: one conversation in, one message of a model out."""

from msgspec import Struct

from outcrop.iam.caller import Caller
from outcrop.runtime.conversation import check
from outcrop.runtime.events import Events
from outcrop.runtime.inference import Inference
from outcrop.runtime.message import collected
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseResponse,
    ConverseStreamRequest,
)


class ConverseAnswer(Struct, frozen=True):
    output: ConverseResponse
    served_by: str


class Converse:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def converse(self, caller: Caller, request: ConverseRequest) -> ConverseAnswer:
        check(request)
        events = await self._inference.events(caller, request.model_id, request)
        try:
            return ConverseAnswer(collected(await events.rest()), events.served_by)
        finally:
            await events.aclose()

    async def converse_stream(self, caller: Caller, request: ConverseStreamRequest) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them."""
        check(request)
        return await self._inference.events(caller, request.model_id, request)
