"""Converse to and from llama.cpp as Outcrop runs it: small models, held to schemas."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, Struct

from outcrop.runtime.dialects.additional_fields import additional_fields
from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import (
    Asked,
    Call,
    Capabilities,
    Complaint,
    ModelEvent,
    Prompt,
    Reader,
)
from outcrop.runtime.dialects.embedded_messages import embedded_messages
from outcrop.runtime.dialects.openai_chat import CHAT, COMPLETIONS, as_conversation, reader
from outcrop.runtime.dialects.openai_complaint import complaint
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.runtime.dialects.openai_request import completion_body, inference, output, streamed
from outcrop.runtime.dialects.refusals import refuse_what_chat_lacks
from outcrop.runtime.dialects.schema_reader import held_to_schema
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamRequest,
    MessageStopEvent,
    StopReason,
    ToolConfiguration,
    ToolSpecification,
    ToolUseBlockDelta,
    ToolUseBlockStart,
)

# What a caller may set besides. The rest is for other models (`thinking`, `anthropic_beta`, …) or
# would reach into the engine.
_SAMPLING: Final = frozenset(
    {
        "frequency_penalty",
        "min_p",
        "presence_penalty",
        "repeat_penalty",
        "seed",
        "top_k",
        "typical_p",
    }
)


# Far more than fits into the context of a model that runs here. The engine finds that out after
# work that grows with the square of the messages.
_LONGEST_BYTES, _MOST_MESSAGES = 4 * 1024 * 1024, 4096


class EmbeddedChat:
    """A call of a tool is written under a schema where the caller demands one, else there is none.

    The engine accepts `tool_choice` and does not enforce it
    (github.com/ggml-org/llama.cpp/issues/27217); by themselves small models call no tool.
    """

    def __init__(self, *, system_prompt: str, max_tokens: int) -> None:
        self._system_prompt = system_prompt
        self._max_tokens = max_tokens

    def call(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:
        asked = in_common_terms(asked)
        if type(asked) is Prompt and capabilities.completions:
            path, body = COMPLETIONS, completion_body(asked, served_as)
        else:
            path, body = CHAT, self._chat_body(as_conversation(asked), served_as)
        body.setdefault("max_tokens", self._max_tokens)
        # Without progress a closed connection does not stop it reading the prompt.
        body["return_progress"] = True
        # Says at the end which stop sequence it met; with a copy of the prompt, so only then.
        body["verbose"] = "stop" in body
        fields = additional_fields(asked.additional_model_request_fields)
        passed = {name: value for name, value in fields.items() if name in _SAMPLING}
        encoded = msgspec.json.encode({**passed, **body})
        if len(encoded) > _LONGEST_BYTES or len(body.get("messages", ())) > _MOST_MESSAGES:
            raise ValidationException("Input is too long for requested model.")
        return Call(path, encoded)

    def reader(self, asked: Asked, *, whole: bool = False) -> Reader:
        asked = in_common_terms(asked)
        forced = () if type(asked) is Prompt else forced_tools(asked.tool_config)
        answer = reader(asked, whole=whole)
        return _ForcedReader(answer) if forced else held_to_schema(asked, answer)

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)

    def _chat_body(
        self, request: ConverseRequest | ConverseStreamRequest, served_as: str
    ) -> dict[str, Any]:
        refuse_what_chat_lacks(request)
        forced = forced_tools(request.tool_config)
        # Its template has a system prompt of its own, and with that one it answers nonsense.
        messages = embedded_messages(request, default_system=self._system_prompt, tools=forced)
        body: dict[str, Any] = {"model": served_as, "messages": messages, **streamed()}
        body |= inference(request.inference_config)
        if forced:
            body["response_format"] = _one_call_of(forced)
        elif request.output_config is not None:
            body |= dict(output(request.output_config))
        return body


def forced_tools(config: ToolConfiguration | None) -> Sequence[ToolSpecification]:
    """Those of which the model must call one; none if it need not."""
    if config is None or config.tool_choice is None:
        return ()
    specs = [tool.tool_spec for tool in config.tools if tool.tool_spec is not None]
    if config.tool_choice.tool is not None:
        name = config.tool_choice.tool.name
        return [spec for spec in specs if spec.name == name]
    return specs if config.tool_choice.any is not None else ()


def _one_call_of(tools: Sequence[ToolSpecification]) -> dict[str, Any]:
    schemas = [_schema(tool) for tool in tools]
    # References lead from the root of the whole schema.
    shared = {
        name: {key: value for schema in schemas for key, value in _definitions(schema, name)}
        for name in ("$defs", "definitions")
    }
    calls = [_call_schema(tool, schema) for tool, schema in zip(tools, schemas, strict=True)]
    whole = calls[0] if len(calls) == 1 else {"anyOf": calls}
    whole |= {name: definitions for name, definitions in shared.items() if definitions}
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": whole}}


def _schema(tool: ToolSpecification) -> dict[str, Any]:
    """Raises ValidationException for one too deep to be looked into."""
    try:
        return msgspec.json.decode(tool.input_schema.json, type=dict[str, Any])
    except BAD_JSON as error:
        raise ValidationException(
            f"The value at toolConfig.tools of the tool {tool.name} is no JSON schema."
        ) from error


def _definitions(schema: dict[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    found = schema.get(name)
    return cast("dict[str, Any]", found).items() if isinstance(found, dict) else ()


def _call_schema(tool: ToolSpecification, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": schema},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


class _WrittenCall(Struct, frozen=True):
    name: str
    arguments: Raw


class _ForcedReader:
    """The text that was written under the schema is a call of a tool."""

    def __init__(self, answer: ChatReader) -> None:
        self._answer = answer
        self._written: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        yield from self._read(self._answer.feed(chunk))

    def end(self) -> Iterator[ModelEvent]:
        yield from self._read(self._answer.end())

    def _read(self, events: Iterable[ModelEvent]) -> Iterator[ModelEvent]:
        for event in events:
            if isinstance(event, ContentBlockDeltaEvent):
                self._written.append(event.delta.text or "")
            elif isinstance(event, MessageStopEvent):
                yield from self._stop(event)
            elif not isinstance(event, ContentBlockStopEvent):
                yield event

    def _stop(self, event: MessageStopEvent) -> Iterator[ModelEvent]:
        text = "".join(self._written)
        try:
            call = msgspec.json.decode(text, type=_WrittenCall)
        except BAD_JSON:
            # Cut off in the middle: the caller sees what there is of it.
            yield from _text_block(text)
            yield _stopped(event, _unless_cut(event.stop_reason, "malformed_tool_use"))
        else:
            yield from self._tool_block(call)
            yield _stopped(event, "tool_use")

    def _tool_block(self, call: _WrittenCall) -> Iterator[ModelEvent]:
        start = ToolUseBlockStart(tool_use_id=self._answer.own_tool_use_id(0), name=call.name)
        yield ContentBlockStartEvent(start=ContentBlockStart(tool_use=start), content_block_index=0)
        delta = ToolUseBlockDelta(input=bytes(call.arguments).decode())
        yield ContentBlockDeltaEvent(delta=ContentBlockDelta(tool_use=delta), content_block_index=0)
        yield ContentBlockStopEvent(content_block_index=0)


def _text_block(text: str) -> Iterator[ModelEvent]:
    if text:
        delta = ContentBlockDelta(text=text)
        yield ContentBlockDeltaEvent(delta=delta, content_block_index=0)
        yield ContentBlockStopEvent(content_block_index=0)


def _unless_cut(stop_reason: StopReason, otherwise: StopReason) -> StopReason:
    return stop_reason if stop_reason != "end_turn" else otherwise


def _stopped(event: MessageStopEvent, stop_reason: StopReason) -> MessageStopEvent:
    return msgspec.structs.replace(event, stop_reason=stop_reason)
