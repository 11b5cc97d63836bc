"""Converse to and from OpenAI's API: vLLM, SGLang, llama.cpp, Ollama, LM Studio, gateways."""

from collections.abc import Sequence
from typing import Final

import msgspec

from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.runtime.dialects.dialect import Asked, Call, Capabilities, Complaint, Prompt, Reader
from outcrop.runtime.dialects.openai_complaint import complaint
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.runtime.dialects.openai_request import (
    chat_body,
    completion_body,
    fields_of_the_caller,
    prefilled,
)
from outcrop.runtime.dialects.refusals import refuse_what_chat_lacks
from outcrop.runtime.dialects.schema_reader import held_to_schema
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    Message,
)

CHAT: Final = "/chat/completions"
COMPLETIONS: Final = "/completions"


class OpenAiChat:
    """Any server of this API."""

    def call(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:
        asked = in_common_terms(asked)
        fields = fields_of_the_caller(asked.additional_model_request_fields)
        if type(asked) is Prompt and capabilities.completions:
            body = completion_body(asked, served_as)
            return Call(COMPLETIONS, msgspec.json.encode({**fields, **body}))
        request = as_conversation(asked)
        refuse_what_chat_lacks(request)
        body = chat_body(request, served_as, capabilities)
        told = {**prefilled(body["messages"], capabilities), **fields, **body}
        return Call(CHAT, msgspec.json.encode(told))

    def reader(self, asked: Asked, *, whole: bool = False) -> Reader:
        asked = in_common_terms(asked)
        return held_to_schema(asked, reader(asked, whole=whole))

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


def reader(asked: Asked, *, whole: bool) -> ChatReader:
    config = asked.inference_config
    paths: Sequence[str] = ()
    if type(asked) is not Prompt:
        paths = asked.additional_model_response_field_paths or ()
    max_tokens = None if config is None else config.max_tokens
    return ChatReader(max_tokens=max_tokens, paths=paths, whole=whole)


def as_conversation(asked: Asked) -> ConverseRequest | ConverseStreamRequest:
    """For a server that goes on from no raw prompt: it becomes the only message."""
    if type(asked) is not Prompt:
        return asked
    return ConverseRequest(
        model_id=asked.model_id,
        messages=[Message(role="user", content=[ContentBlock(text=asked.prompt)])],
        inference_config=asked.inference_config,
        additional_model_request_fields=asked.additional_model_request_fields,
    )
