"""Amazon Nova's `messages-v1`: Converse in all but a few keys."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from outcrop.runtime.conversation import check
from outcrop.runtime.dialects.dialect import Asked, ModelEvent
from outcrop.runtime.families.family import METRICS, Answer, Invocation, Metrics
from outcrop.runtime.families.schema import Schema, StopSequence, json_object, malformed
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamRequest,
    InferenceConfiguration,
    Message,
    MessageStartEvent,
    MessageStopEvent,
    SystemContentBlock,
    TokenUsage,
    ToolConfiguration,
)
from outcrop.wire.unchecked import check_of


class InferenceConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Amazon's first examples for Nova spell some keys in snake case: those are taken, too."""

    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = msgspec.field(
        default=None, name="max_new_tokens"
    )
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    snake_top_p: Annotated[float, Meta(ge=0, le=1)] | None = msgspec.field(
        default=None, name="top_p"
    )
    top_k: Annotated[int, Meta(ge=0, le=128)] | None = None
    snake_top_k: Annotated[int, Meta(ge=0, le=128)] | None = msgspec.field(
        default=None, name="top_k"
    )
    stop_sequences: list[StopSequence] | None = None
    reasoning_config: Raw = Raw()


class Body(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    schema_version: Literal["messages-v1"] = "messages-v1"
    system: list[SystemContentBlock] | None = None
    inference_config: InferenceConfig = InferenceConfig()
    tool_config: ToolConfiguration | None = None
    reasoning_config: Raw = Raw()


_BODY = Schema(Body)
_IS_SOUND: Final = check_of(Body)


class Nova:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:
        request = _request(body, model_id, ConverseStreamRequest if streaming else ConverseRequest)
        check(request)
        return request

    def response(self, answer: Answer, invocation: Invocation) -> bytes:  # noqa: ARG002 - a family's
        message = {"content": answer.content, "role": "assistant"}
        return msgspec.json.encode(
            {
                "output": {"message": message},
                "stopReason": answer.stop_reason,
                "usage": _usage(answer.usage),
            }
        )

    def writer(self, invocation: Invocation) -> "NovaWriter":  # noqa: ARG002 - a family's
        return NovaWriter()


class NovaWriter:
    """Converse's events, each under its name; the last one with the metrics."""

    def __init__(self) -> None:
        self._usage: dict[str, int] = {}

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        match event:
            case MessageStartEvent():
                yield _named("messageStart", event)
            case ContentBlockStartEvent():
                yield _named("contentBlockStart", event)
            case ContentBlockDeltaEvent():
                yield _named("contentBlockDelta", event)
            case ContentBlockStopEvent():
                yield _named("contentBlockStop", event)
            case MessageStopEvent():
                yield _named("messageStop", MessageStopEvent(stop_reason=event.stop_reason))
            case TokenUsage():
                self._usage = _usage(event)
            case _:
                pass

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        metadata = {"usage": self._usage, "metrics": {}, "trace": {}}
        yield msgspec.json.encode({"metadata": metadata, METRICS: metrics})


def _named(name: str, event: Any) -> bytes:
    return msgspec.json.encode({name: event})


def _request(
    body: bytes, model_id: str, request_type: type[ConverseRequest | ConverseStreamRequest]
) -> ConverseRequest | ConverseStreamRequest:
    asked = _BODY.decode(body)
    if _IS_SOUND is not None and not _IS_SOUND(asked):
        raise malformed("#/messages: no subschema matched")
    config = asked.inference_config
    request = request_type(
        model_id=model_id,
        messages=asked.messages,
        system=asked.system or None,
        inference_config=InferenceConfiguration(
            max_tokens=config.max_tokens or config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.snake_top_p if config.top_p is None else config.top_p,
            stop_sequences=config.stop_sequences or None,
        ),
        tool_config=asked.tool_config,
    )
    fields = dict(_additional_fields(asked))
    if not fields:
        return request
    additional = Raw(msgspec.json.encode(fields))
    return msgspec.structs.replace(request, additional_model_request_fields=additional)


def _additional_fields(asked: Body) -> Iterator[tuple[str, Any]]:
    """Where Amazon has callers of Converse put them."""
    config = asked.inference_config
    top_k = config.snake_top_k if config.top_k is None else config.top_k
    if top_k is not None:
        yield "inferenceConfig", {"topK": top_k}
    reasoning = asked.reasoning_config or config.reasoning_config
    if reasoning:
        yield "reasoningConfig", json_object(reasoning, "reasoningConfig")


def _usage(usage: TokenUsage) -> dict[str, int]:
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokenCount": usage.cache_read_input_tokens or 0,
        "cacheWriteInputTokenCount": usage.cache_write_input_tokens or 0,
    }
