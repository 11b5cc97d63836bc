"""Mistral's chat completion: Mistral Large and Pixtral, with tools and images."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, ModelEvent
from outcrop.runtime.families.chat_completion import Function, ToolCall, Usage, tool_call, usage_of
from outcrop.runtime.families.chat_messages import (
    ChatMessages,
    FunctionTool,
    NamedFunction,
    conversation,
    given_fields,
    tool_choice,
    tool_configuration,
)
from outcrop.runtime.families.family import Answer, Family, Invocation, Metrics, Writer
from outcrop.runtime.families.openai import ResponseFormat, output_config
from outcrop.runtime.families.said import NO_USAGE, said
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.runtime.families.text_writer import STOP_OR_LENGTH
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    InferenceConfiguration,
    MessageStartEvent,
    MessageStopEvent,
    StopReason,
    TokenUsage,
    ToolUseBlockStart,
)

STOP_REASONS: Mapping[StopReason, str] = {**STOP_OR_LENGTH, "tool_use": "tool_calls"}


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-chat-completion.html
    messages: ChatMessages
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["auto", "any", "none", "required"] | NamedFunction | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] = 0.7
    top_p: Annotated[float, Meta(ge=0, le=1)] = 1.0
    # Not on that page; Converse sends both to these models.
    stop: StopSequence | list[StopSequence] | None = None
    response_format: ResponseFormat | None = None


class _Message(Struct, frozen=True):
    role: Literal["assistant"] | None = None
    content: str = ""
    tool_calls: list[ToolCall] | None = None


class _Choice(Struct, frozen=True):
    message: _Message
    stop_reason: str | None = None
    index: int = 0
    logprobs: None = None


class _Response(Struct, frozen=True):
    """Whole, or a chunk of it: both have `message`, not `delta`."""

    id: str
    object: Literal["chat.completion", "chat.completion.chunk"]
    created: int
    model: str
    choices: list[_Choice]
    usage: Usage | None = None
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)


class MistralChat:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        system, messages = conversation(decoded.messages)
        stop = [decoded.stop] if isinstance(decoded.stop, str) else decoded.stop
        return ConverseRequest(
            model_id=model_id,
            messages=messages,
            system=system,
            inference_config=InferenceConfiguration(
                max_tokens=decoded.max_tokens,
                temperature=decoded.temperature,
                top_p=decoded.top_p,
                stop_sequences=stop or None,
            ),
            tool_config=tool_configuration(decoded.tools, tool_choice(decoded.tool_choice)),
            output_config=output_config(decoded.response_format),
            additional_model_request_fields=given_fields(
                decoded, forbids_tools=bool(decoded.tools) and decoded.tool_choice == "none"
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        text, _, tool_uses = said(answer.content)
        calls = [tool_call(tool_use) for tool_use in tool_uses]
        message = _Message("assistant", text, calls or None)
        choice = _Choice(message, STOP_REASONS[answer.stop_reason])
        response = _Response(
            id=invocation.invocation_id,
            object="chat.completion",
            created=invocation.created,
            model=vendors_name(invocation.foundation_model_id),
            choices=[choice],
            usage=usage_of(answer.usage),
        )
        return msgspec.json.encode(response)

    def writer(self, invocation: Invocation) -> Writer:
        return _ChatWriter(invocation)


class MistralEither:
    """Models that take a prompt or a conversation: the body says which."""

    def __init__(self, prompt: Family, chat: Family) -> None:
        self._prompt = prompt
        self._chat = chat

    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:
        return self._meant(body).asked(body, model_id, streaming=streaming)

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        return self._meant(invocation.body).response(answer, invocation)

    def writer(self, invocation: Invocation) -> Writer:
        return self._meant(invocation.body).writer(invocation)

    def _meant(self, body: bytes) -> Family:
        return self._prompt if _EITHER.decode(body).prompt else self._chat


class _Either(Struct, frozen=True):
    prompt: msgspec.Raw = msgspec.Raw()


_EITHER = Schema(_Either)


def vendors_name(foundation_model_id: str) -> str:
    """`mistral-large-2407` for `mistral.mistral-large-2407-v1:0`."""
    _, _, name = foundation_model_id.partition(".")
    return re.sub(r"-v\d+:\d+\Z", "", name)


class _ChatWriter:
    """Text as it comes; a tool call when it is whole."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._tool: ToolUseBlockStart | None = None
        self._input: list[str] = []
        self._stop_reason: StopReason = "end_turn"
        self._usage = NO_USAGE

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        for message in self._messages(event):
            yield self._chunk(_Choice(message))
        if isinstance(event, MessageStopEvent):
            self._stop_reason = event.stop_reason
        elif isinstance(event, TokenUsage):
            self._usage = event

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        last = _Choice(_Message(), STOP_REASONS[self._stop_reason])
        yield self._chunk(last, usage=usage_of(self._usage), metrics=metrics)

    def _messages(self, event: ModelEvent) -> Iterator[_Message]:
        match event:
            case MessageStartEvent():
                yield _Message("assistant")
            case ContentBlockStartEvent(start=ContentBlockStart(tool_use=tool_use)):
                self._tool, self._input = tool_use, []
            case ContentBlockDeltaEvent(delta=delta):
                self._input += [delta.tool_use.input] if delta.tool_use else []
                if delta.text:
                    yield _Message(content=delta.text)
            case ContentBlockStopEvent() if self._tool is not None:
                yield _Message(tool_calls=[self._whole(self._tool)])
                self._tool = None
            case _:
                return

    def _whole(self, tool: ToolUseBlockStart) -> ToolCall:
        function = Function(name=tool.name, arguments="".join(self._input) or "{}")
        return ToolCall(id=tool.tool_use_id, type="function", function=function)

    def _chunk(
        self,
        choice: _Choice,
        *,
        usage: Usage | None = None,
        metrics: Metrics | UnsetType = UNSET,
    ) -> bytes:
        chunk = _Response(
            id=self._invocation.invocation_id,
            object="chat.completion.chunk",
            created=self._invocation.created,
            model=vendors_name(self._invocation.foundation_model_id),
            choices=[choice],
            usage=usage,
            metrics=metrics,
        )
        return msgspec.json.encode(chunk)
