"""Anthropic's Messages API as Bedrock speaks it: Claude."""

from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.families.anthropic_answer import EventWriter, response
from outcrop.runtime.families.anthropic_request import converse_request
from outcrop.runtime.families.family import Answer, Invocation
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest, ConverseStreamRequest


class Anthropic:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:
        request_type = ConverseStreamRequest if streaming else ConverseRequest
        return converse_request(body, model_id, request_type)

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        return response(answer, invocation)

    def writer(self, invocation: Invocation) -> EventWriter:
        return EventWriter(invocation)
