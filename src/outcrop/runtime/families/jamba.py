"""AI21's Jamba: messages in OpenAI's shape, and answers nearly so."""

from typing import Annotated

from msgspec import Meta, Struct

from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.families.chat_completion import CompletionWriter, Head, completion
from outcrop.runtime.families.chat_messages import (
    ChatMessages,
    FunctionTool,
    conversation,
    given_fields,
    tool_configuration,
)
from outcrop.runtime.families.family import Answer, Invocation, Writer
from outcrop.runtime.families.openai import ResponseFormat, output_config
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest, InferenceConfiguration

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-jamba.html
    messages: ChatMessages
    n: Annotated[int, Meta(ge=1, le=1)] = 1
    """Up to 16 on Amazon; one answer is all that Converse tells."""
    max_tokens: Annotated[int, Meta(ge=0, le=4096)] | None = None
    """By default as many as the model can."""
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Meta(ge=0, le=1)] = 1.0
    stop: StopSequence | list[StopSequence] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    # Not on that page, but of the model (docs.ai21.com, Jamba API).
    tools: list[FunctionTool] | None = None
    response_format: ResponseFormat | None = None


_SCHEMA = Schema(_Body)


class Jamba:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        system, messages = conversation(decoded.messages)
        return ConverseRequest(
            model_id=model_id,
            messages=messages,
            system=system,
            inference_config=_inference(decoded),
            tool_config=tool_configuration(decoded.tools, None),
            output_config=output_config(decoded.response_format),
            additional_model_request_fields=given_fields(
                decoded, "frequency_penalty", "presence_penalty"
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        return completion(answer, _head(invocation), "a member of its own")

    def writer(self, invocation: Invocation) -> Writer:
        return CompletionWriter(_head(invocation), "a member of its own", usage_in="the last chunk")


def _inference(body: _Body) -> InferenceConfiguration:
    return InferenceConfiguration(
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop_sequences=[body.stop] if isinstance(body.stop, str) else body.stop or None,
    )


def _head(invocation: Invocation) -> Head:
    return Head(id=f"chatcmpl-{invocation.invocation_id}")
