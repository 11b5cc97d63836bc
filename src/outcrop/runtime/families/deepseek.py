"""DeepSeek-R1: a prompt in its chat template and what follows it, reasoning and all."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.families.family import Answer, Invocation, Metrics, Writer
from outcrop.runtime.families.said import said
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.runtime.families.text_writer import STOP_OR_LENGTH, TextWriter
from outcrop.wire.shapes.bedrock_runtime import InferenceConfiguration, StopReason, TokenUsage


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-deepseek.html
    prompt: Annotated[str, Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    # No default is documented; more than 8,192 is advised against, and servers themselves go on
    # for 16 tokens only where nobody says otherwise.
    max_tokens: Annotated[int, Meta(ge=1, le=32768)] = 8192
    stop: Annotated[list[StopSequence], Meta(max_length=10)] | None = None


class _Choice(Struct, frozen=True):
    text: str
    stop_reason: str | None = None


class _Response(Struct, frozen=True):
    """Whole, or a chunk of it."""

    choices: list[_Choice]
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)

# As the model itself writes it, where a server has told reasoning and answer apart.
_END_OF_REASONING: Final = "\n</think>\n\n"


class DeepSeekR1:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        return Prompt(
            model_id=model_id,
            prompt=decoded.prompt,
            inference_config=InferenceConfiguration(
                max_tokens=decoded.max_tokens,
                temperature=decoded.temperature,
                top_p=decoded.top_p,
                stop_sequences=decoded.stop or None,
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:  # noqa: ARG002 - nothing of it is told
        text, reasoning, _ = said(answer.content)
        if reasoning:
            text = f"{reasoning}{_END_OF_REASONING}{text}" if text else reasoning
        choice = _Choice(text, STOP_OR_LENGTH[answer.stop_reason])
        return msgspec.json.encode(_Response([choice]))

    def writer(self, invocation: Invocation) -> Writer:  # noqa: ARG002 - nothing of it is told
        return TextWriter(_chunk, _last_chunk, end_of_reasoning=_END_OF_REASONING)


def _chunk(text: str) -> _Response:
    return _Response([_Choice(text)])


def _last_chunk(stop_reason: StopReason, _: TokenUsage, metrics: Metrics) -> _Response:
    return _Response([_Choice("", STOP_OR_LENGTH[stop_reason])], metrics)
