"""Mistral's text completion: a prompt in its instruction format and what follows it."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.families.family import Answer, Invocation, Metrics, Writer
from outcrop.runtime.families.said import said
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.runtime.families.text_writer import STOP_OR_LENGTH, TextWriter
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import InferenceConfiguration, StopReason, TokenUsage


class Defaults(Struct, frozen=True, kw_only=True):
    """What holds where the caller says nothing; the models differ."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int | None


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-mistral-text-completion.html
    prompt: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=8192)] | UnsetType = UNSET
    stop: Annotated[list[StopSequence], Meta(max_length=10)] = []
    temperature: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=1, le=200)] | UnsetType = UNSET


class _Output(Struct, frozen=True):
    text: str
    stop_reason: str | None = None


class _Response(Struct, frozen=True):
    """Whole, or a chunk of it."""

    outputs: list[_Output]
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)


class MistralPrompt:
    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded, defaults = _SCHEMA.decode(body), self._defaults
        top_k = decoded.top_k or defaults.top_k
        return Prompt(
            model_id=model_id,
            prompt=decoded.prompt,
            inference_config=InferenceConfiguration(
                max_tokens=decoded.max_tokens or defaults.max_tokens,
                temperature=_given(decoded.temperature, defaults.temperature),
                top_p=_given(decoded.top_p, defaults.top_p),
                stop_sequences=decoded.stop or None,
            ),
            additional_model_request_fields=ABSENT
            if top_k is None
            else Raw(msgspec.json.encode({"top_k": top_k})),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:  # noqa: ARG002 - nothing of it is told
        output = _Output(said(answer.content).text, STOP_OR_LENGTH[answer.stop_reason])
        return msgspec.json.encode(_Response([output]))

    def writer(self, invocation: Invocation) -> Writer:  # noqa: ARG002 - nothing of it is told
        return TextWriter(_chunk, _last_chunk)


def _given(value: float | UnsetType, default: float) -> float:
    return default if value is UNSET else value


def _chunk(text: str) -> _Response:
    return _Response([_Output(text)])


def _last_chunk(stop_reason: StopReason, _: TokenUsage, metrics: Metrics) -> _Response:
    return _Response([_Output("", STOP_OR_LENGTH[stop_reason])], metrics)
