"""Cohere's Command R and R+: a message after its history, with documents and tools."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast
from uuid import NAMESPACE_OID, uuid5

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, ModelEvent, Prompt
from outcrop.runtime.families.chat_messages import say
from outcrop.runtime.families.family import Answer, Invocation, Metrics, Writer
from outcrop.runtime.families.said import said
from outcrop.runtime.families.schema import Schema, StopSequence, document, malformed
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    DocumentBlock,
    DocumentSource,
    InferenceConfiguration,
    Message,
    MessageStartEvent,
    MessageStopEvent,
    StopReason,
    SystemContentBlock,
    Tool,
    ToolConfiguration,
    ToolInputSchema,
    ToolResultBlock,
    ToolResultContentBlock,
    ToolSpecification,
    ToolUseBlock,
    ToolUseBlockStart,
)
from outcrop.wire.unchecked import is_document

FINISH_REASONS: Mapping[StopReason, str] = {
    "end_turn": "COMPLETE",
    "stop_sequence": "COMPLETE",
    "tool_use": "COMPLETE",
    "max_tokens": "MAX_TOKENS",
    "model_context_window_exceeded": "ERROR_LIMIT",
    "content_filtered": "ERROR_TOXIC",
    "guardrail_intervened": "ERROR_TOXIC",
    "malformed_model_output": "ERROR",
    "malformed_tool_use": "ERROR",
}

# Where nobody says otherwise, servers go on from a raw prompt for 16 tokens only.
_MOST_TOKENS: Final = 4096

# What Cohere's parameter definitions call types: Python's names, and JSON's.
_JSON_TYPES: Mapping[str, str] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    **{name: name for name in ("string", "integer", "number", "boolean", "array", "object")},
}


_LONGEST_TYPE: Final = 200


class _Call(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = {}


class _ToolResult(Struct, frozen=True, forbid_unknown_fields=True):
    call: _Call
    outputs: list[dict[str, Any]]


class _User(Struct, frozen=True, tag_field="role", tag="USER", forbid_unknown_fields=True):
    message: str


class _Chatbot(Struct, frozen=True, tag_field="role", tag="CHATBOT", forbid_unknown_fields=True):
    message: str
    tool_calls: list[_Call] | UnsetType = UNSET
    """As an answer's own history has them."""


_Turn = _User | _Chatbot


class _Parameter(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    description: str | None = None
    required: bool = False


class _Tool(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameter_definitions: dict[str, _Parameter] = {}


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-cohere-command-r-plus.html
    message: str
    chat_history: list[_Turn] = []
    documents: list[dict[str, str]] = []
    preamble: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] = 0.3
    p: Annotated[float, Meta(ge=0.01, le=0.99)] = 0.75
    k: Annotated[float, Meta(ge=0, le=500)] = 0
    """0: all tokens."""
    frequency_penalty: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop_sequences: list[StopSequence] = []
    tools: list[_Tool] = []
    tool_results: list[_ToolResult] = []
    raw_prompting: bool = False
    # Nothing is cut from a prompt, no prompt is told, and nobody behind us writes search queries.
    prompt_truncation: Literal["OFF"] = "OFF"
    return_prompt: bool = False
    search_queries_only: bool = False


class _Response(Struct, frozen=True):
    response_id: str
    text: str
    generation_id: str
    chat_history: list[_Turn]
    finish_reason: str
    tool_calls: list[_Call] | UnsetType = UNSET


class _Chunk(Struct, frozen=True):
    event_type: str
    is_finished: bool = False
    generation_id: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    tool_calls: list[_Call] | UnsetType = UNSET
    response: _Response | UnsetType = UNSET
    finish_reason: str | UnsetType = UNSET
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)


class CohereCommand:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        # Parameters and outputs are free JSON, and written again.
        document(Raw(body))
        _check(decoded)
        if decoded.raw_prompting:
            return Prompt(
                model_id=model_id,
                prompt=decoded.message,
                inference_config=_inference(decoded, _MOST_TOKENS),
                additional_model_request_fields=_other_fields(decoded),
            )
        return ConverseRequest(
            model_id=model_id,
            messages=_messages(decoded),
            system=[SystemContentBlock(text=decoded.preamble)] if decoded.preamble else None,
            inference_config=_inference(decoded, None),
            tool_config=_tool_config(decoded.tools),
            additional_model_request_fields=_other_fields(decoded),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        text, _, tool_uses = said(answer.content)
        calls = [_call(tool_use.name, bytes(tool_use.input)) for tool_use in tool_uses]
        return msgspec.json.encode(_response(invocation, text, calls, answer.stop_reason))

    def writer(self, invocation: Invocation) -> Writer:
        return _CommandWriter(invocation)


class _CommandWriter:
    """Text as it comes, tool calls when they are whole, and everything once more at the end."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._text: list[str] = []
        self._calls: list[_Call] = []
        self._tool: ToolUseBlockStart | None = None
        self._input: list[str] = []
        self._stop_reason: StopReason = "end_turn"

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        for chunk in self._chunks(event):
            yield msgspec.json.encode(chunk)

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        text = "".join(self._text)
        response = _response(self._invocation, text, self._calls, self._stop_reason)
        yield msgspec.json.encode(
            _Chunk(
                "stream-end",
                is_finished=True,
                response=response,
                finish_reason=response.finish_reason,
                metrics=metrics,
            )
        )

    def _chunks(self, event: ModelEvent) -> Iterator[_Chunk]:
        match event:
            case MessageStartEvent():
                yield _Chunk("stream-start", generation_id=_id(self._invocation, "generation"))
            case ContentBlockStartEvent(start=ContentBlockStart(tool_use=tool_use)):
                self._tool, self._input = tool_use, []
            case ContentBlockDeltaEvent(delta=delta):
                self._input += [delta.tool_use.input] if delta.tool_use else []
                if delta.text:
                    self._text.append(delta.text)
                    yield _Chunk("text-generation", text=delta.text)
            case ContentBlockStopEvent() if self._tool is not None:
                self._calls.append(_call(self._tool.name, "".join(self._input).encode()))
                self._tool = None
            case MessageStopEvent(stop_reason=stop_reason):
                self._stop_reason = stop_reason
                if self._calls:
                    yield _Chunk("tool-calls-generation", tool_calls=self._calls)
            case _:
                return


def _check(body: _Body) -> None:
    for name in ("return_prompt", "search_queries_only"):
        if getattr(body, name):
            raise malformed(f"#/{name}: true is not a valid enum value")
    if body.raw_prompting:
        # Such a prompt is all there is.
        for name in ("chat_history", "documents", "preamble", "tools", "tool_results"):
            if getattr(body, name):
                raise malformed(f"#: extraneous key [{name}] is not permitted")


def _inference(body: _Body, max_tokens: int | None) -> InferenceConfiguration:
    return InferenceConfiguration(
        max_tokens=body.max_tokens or max_tokens,
        temperature=body.temperature,
        top_p=body.p,
        stop_sequences=body.stop_sequences or None,
    )


def _other_fields(body: _Body) -> Raw:
    fields = {
        "top_k": int(body.k) or None,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "seed": body.seed,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return Raw(msgspec.json.encode(given)) if given else ABSENT


def _messages(body: _Body) -> list[Message]:
    messages: list[Message] = []
    for index, turn in enumerate(body.chat_history):
        say(messages, "user" if isinstance(turn, _User) else "assistant", _turn(turn, index))
    documents = [_document(document, index) for index, document in enumerate(body.documents)]
    # An agent's further steps have nothing new to say.
    text = [ContentBlock(text=body.message)] if body.message or not body.tool_results else []
    if documents or text:
        say(messages, "user", [*documents, *text])
    _say_results(messages, body)
    return messages


def _turn(turn: _Turn, index: int) -> list[ContentBlock]:
    calls = turn.tool_calls if isinstance(turn, _Chatbot) and turn.tool_calls else []
    text = [ContentBlock(text=turn.message)] if turn.message or not calls else []
    return [*text, *_tool_uses(calls, index)]


def _say_results(messages: list[Message], body: _Body) -> None:
    """The calls come with their results; only the last turn of a history may have them already."""
    if not body.tool_results:
        return
    turn = len(body.chat_history)
    if messages and any(block.tool_use for block in messages[-1].content):
        turn -= 1
    else:
        say(messages, "assistant", _tool_uses([one.call for one in body.tool_results], turn))
    results = enumerate(body.tool_results)
    say(messages, "user", [_tool_result(one, f"call_{turn}_{index}") for index, one in results])


def _tool_uses(calls: Sequence[_Call], turn: int) -> list[ContentBlock]:
    """Cohere's calls have no ids; Converse's do."""
    return [_tool_use(call, f"call_{turn}_{index}") for index, call in enumerate(calls)]


def _tool_use(call: _Call, tool_use_id: str) -> ContentBlock:
    parameters = Raw(msgspec.json.encode(call.parameters))
    block = ToolUseBlock(tool_use_id=tool_use_id, name=call.name, input=parameters)
    return ContentBlock(tool_use=block)


def _tool_result(result: _ToolResult, tool_use_id: str) -> ContentBlock:
    outputs = [Raw(msgspec.json.encode(output)) for output in result.outputs]
    content = [ToolResultContentBlock(json=output) for output in outputs]
    return ContentBlock(tool_result=ToolResultBlock(tool_use_id=tool_use_id, content=content))


def _document(document: Mapping[str, str], index: int) -> ContentBlock:
    """By its title; all of it is there to be read."""
    text = "\n".join(f"{name}: {value}" for name, value in document.items())
    # What Converse lets a document be called.
    title = re.sub(r"[^A-Za-z0-9\-()\[\]]+", " ", document.get("title", ""))
    return ContentBlock(
        document=DocumentBlock(
            format="txt",
            name=f"{index + 1} {title}"[:200].strip(),
            source=DocumentSource(text=text),
        )
    )


def _tool_config(tools: Sequence[_Tool]) -> ToolConfiguration | None:
    return ToolConfiguration(tools=[*map(_tool, tools)]) if tools else None


def _tool(tool: _Tool) -> Tool:
    definitions = tool.parameter_definitions
    schema = {
        "type": "object",
        "properties": {name: _property(definition) for name, definition in definitions.items()},
        "required": [name for name, definition in definitions.items() if definition.required],
    }
    specification = ToolSpecification(
        name=tool.name,
        description=tool.description or None,
        input_schema=ToolInputSchema(json=Raw(msgspec.json.encode(schema))),
    )
    return Tool(tool_spec=specification)


def _property(parameter: _Parameter) -> dict[str, Any]:
    """`List[str]` is a list of strings, `Dict` an object; a type nobody knows may be anything."""
    described = {"description": parameter.description} if parameter.description else {}
    return {**_type(parameter.type), **described}


def _type(name: str) -> dict[str, Any]:
    if len(name) > _LONGEST_TYPE:
        return {}
    outer, _, inner = name.strip().removesuffix("]").partition("[")
    json_type = _JSON_TYPES.get(outer.lower())
    if json_type == "array" and inner:
        return {"type": json_type, "items": _type(inner)}
    return {"type": json_type} if json_type else {}


def _call(name: str, parameters: bytes) -> _Call:
    """What a model wrote for an object may be something else, or broken off."""
    written = Raw(parameters or b"{}")
    if not is_document(written):
        return _Call(name)
    value = msgspec.json.decode(written)
    return _Call(name, cast("dict[str, Any]", value) if isinstance(value, dict) else {})


def _response(
    invocation: Invocation, text: str, calls: list[_Call], stop_reason: StopReason
) -> _Response:
    body = _SCHEMA.decode(invocation.body)
    asked: list[_Turn] = [_User(body.message)] if body.message else []
    return _Response(
        response_id=_id(invocation, "response"),
        text=text,
        generation_id=_id(invocation, "generation"),
        chat_history=[*body.chat_history, *asked, _Chatbot(text, calls or UNSET)],
        finish_reason=FINISH_REASONS[stop_reason],
        tool_calls=calls or UNSET,
    )


def _id(invocation: Invocation, what: str) -> str:
    return str(uuid5(NAMESPACE_OID, f"{what} {invocation.invocation_id}"))
