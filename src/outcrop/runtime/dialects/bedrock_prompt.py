"""A raw prompt for Amazon itself: in the body of its family, which Converse has no part in."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from outcrop.runtime.dialects.additional_fields import additional_fields
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent, Prompt
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStopEvent,
    InferenceConfiguration,
    MessageStartEvent,
    MessageStopEvent,
    PayloadPart,
    StopReason,
    TokenUsage,
)

Body = Callable[[Prompt, InferenceConfiguration], dict[str, Any]]


def body_of(prompt: Prompt, served_as: str) -> bytes | None:
    """None where neither name tells a family of raw prompts: then Converse is the way."""
    for name in (served_as, prompt.model_id):
        for sign, body in _FAMILIES.items():
            if sign in name:
                written = body(prompt, prompt.inference_config or InferenceConfiguration())
                told = {member: value for member, value in written.items() if value is not None}
                others = additional_fields(prompt.additional_model_request_fields)
                return msgspec.json.encode({**others, **told})
    return None


class ChunkReader:
    """Native chunks of those families, one by one, to Converse's events."""

    def __init__(self) -> None:
        self._started = False
        self._reason: StopReason = "end_turn"
        self.done = False

    def read(self, payload: bytes) -> Iterator[ModelEvent]:
        """Raises ComplaintError."""
        chunk = _decoded(payload)
        if not self._started:
            self._started = True
            yield MessageStartEvent(role="assistant")
        text = "".join(said.text for said in (*chunk.outputs, *chunk.choices))
        text += chunk.generation + chunk.output_text
        if text:
            delta = ContentBlockDelta(text=text)
            yield ContentBlockDeltaEvent(delta=delta, content_block_index=0)
        self._reason = _stop_reason(chunk) or self._reason
        if chunk.metrics is not None:
            self.done = True
            yield ContentBlockStopEvent(content_block_index=0)
            yield MessageStopEvent(stop_reason=self._reason)
            yield _usage(chunk.metrics)


def _llama(prompt: Prompt, config: InferenceConfiguration) -> dict[str, Any]:
    return {
        "prompt": prompt.prompt,
        "max_gen_len": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
    }


def _mistral(prompt: Prompt, config: InferenceConfiguration) -> dict[str, Any]:
    return {
        "prompt": prompt.prompt,
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop": config.stop_sequences,
    }


def _titan(prompt: Prompt, config: InferenceConfiguration) -> dict[str, Any]:
    members = {
        "maxTokenCount": config.max_tokens,
        "temperature": config.temperature,
        "topP": config.top_p,
        "stopSequences": config.stop_sequences,
    }
    told = {name: value for name, value in members.items() if value is not None}
    return {"inputText": prompt.prompt, "textGenerationConfig": told or None}


# By what the ids of their models have in them, profiles' ids too.
_FAMILIES: Mapping[str, Body] = {
    "meta.llama": _llama,
    "mistral.mi": _mistral,
    "deepseek.r1": _mistral,
    "amazon.titan-text": _titan,
}

_STOP_REASONS: Mapping[str, StopReason] = {
    "length": "max_tokens",
    "LENGTH": "max_tokens",
    "STOP_CRITERIA_MET": "stop_sequence",
    "CONTENT_FILTERED": "content_filtered",
}


class _Said(Struct, frozen=True):
    text: str = ""
    stop_reason: str | None = None


class _Metrics(Struct, frozen=True, rename="camel"):
    input_token_count: int = 0
    output_token_count: int = 0


class _Chunk(Struct, frozen=True):
    """Of any of them: each has some of these."""

    generation: str = ""
    stop_reason: str | None = None
    outputs: tuple[_Said, ...] = ()
    choices: tuple[_Said, ...] = ()
    output_text: str = field(default="", name="outputText")
    completion_reason: str | None = field(default=None, name="completionReason")
    metrics: _Metrics | None = field(default=None, name="amazon-bedrock-invocationMetrics")


_PARTS = msgspec.json.Decoder(PayloadPart)
_CHUNKS = msgspec.json.Decoder(_Chunk)


def _decoded(payload: bytes) -> _Chunk:
    try:
        return _CHUNKS.decode(_PARTS.decode(payload).bytes or b"{}")
    except BAD_JSON as error:
        raise ComplaintError(Complaint(502, f"not a chunk of InvokeModel: {error}")) from error


def _stop_reason(chunk: _Chunk) -> StopReason | None:
    told = [chunk.stop_reason, chunk.completion_reason]
    told += [said.stop_reason for said in (*chunk.outputs, *chunk.choices)]
    reason = next((one for one in told if one is not None), None)
    return None if reason is None else _STOP_REASONS.get(reason, "end_turn")


def _usage(metrics: _Metrics) -> TokenUsage:
    return TokenUsage(
        input_tokens=metrics.input_token_count,
        output_tokens=metrics.output_token_count,
        total_tokens=metrics.input_token_count + metrics.output_token_count,
    )
