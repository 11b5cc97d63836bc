"""Writer's Palmyra: OpenAI's chat completions with limits of its own and one shorter form."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.families.chat_completion import CompletionWriter, completion, openai_head
from outcrop.runtime.families.chat_messages import (
    AssistantMessage,
    ChatMessage,
    DeveloperMessage,
    FunctionTool,
    NamedFunction,
    SystemMessage,
    ToolMessage,
    UserMessage,
    UserPart,
    conversation,
    given_fields,
    tool_choice,
    tool_configuration,
)
from outcrop.runtime.families.family import Answer, Invocation, Writer
from outcrop.runtime.families.openai import ResponseFormat, output_config
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest, InferenceConfiguration

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Text(Struct, frozen=True, forbid_unknown_fields=True):
    """The documentation's own example: `"content":{"text":"Explain …"}`."""

    text: str


class _UserMessage(Struct, frozen=True, tag_field="role", tag="user", forbid_unknown_fields=True):
    content: str | list[UserPart] | _Text
    name: str | None = None


_Message = SystemMessage | DeveloperMessage | _UserMessage | AssistantMessage | ToolMessage


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-palmyra-x5.html
    messages: Annotated[list[_Message], Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Meta(ge=1, le=8192)] = 16
    min_tokens: Annotated[int, Meta(ge=0, le=8192)] | None = None
    stop: Annotated[list[StopSequence], Meta(max_length=4)] = []
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    # Not in that table, but in its text ("tool-calling, … structured outputs").
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    response_format: ResponseFormat | None = None


_SCHEMA = Schema(_Body)


class Palmyra:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        system, messages = conversation([*map(_in_full, decoded.messages)])
        return ConverseRequest(
            model_id=model_id,
            messages=messages,
            system=system,
            inference_config=InferenceConfiguration(
                max_tokens=decoded.max_tokens,
                temperature=decoded.temperature,
                top_p=decoded.top_p,
                stop_sequences=decoded.stop or None,
            ),
            tool_config=tool_configuration(decoded.tools, tool_choice(decoded.tool_choice)),
            output_config=output_config(decoded.response_format),
            additional_model_request_fields=given_fields(
                decoded,
                "min_tokens",
                "seed",
                "presence_penalty",
                "frequency_penalty",
                forbids_tools=bool(decoded.tools) and decoded.tool_choice == "none",
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        return completion(answer, openai_head(invocation), "a member of its own")

    def writer(self, invocation: Invocation) -> Writer:
        head = openai_head(invocation)
        return CompletionWriter(head, "a member of its own", usage_in="the last chunk")


def _in_full(message: _Message) -> ChatMessage:
    if not isinstance(message, _UserMessage):
        return message
    content = message.content
    return UserMessage(content=content.text if isinstance(content, _Text) else content)
