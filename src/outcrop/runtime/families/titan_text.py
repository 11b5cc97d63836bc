"""Amazon Titan Text: a prompt and what follows it."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.families.family import Answer, Invocation, Metrics, Writer
from outcrop.runtime.families.said import prompt_tokens, said
from outcrop.runtime.families.schema import Schema, StopSequence
from outcrop.runtime.families.text_writer import TextWriter
from outcrop.wire.shapes.bedrock_runtime import InferenceConfiguration, StopReason, TokenUsage

# The documentation says FINISHED; recorded answers, and the clients that read them, FINISH
# (github.com/open-telemetry/opentelemetry-python-contrib, cassettes of test_botocore_bedrock).
COMPLETION_REASONS: Mapping[StopReason, str] = {
    "end_turn": "FINISH",
    "tool_use": "FINISH",
    "malformed_model_output": "FINISH",
    "malformed_tool_use": "FINISH",
    "stop_sequence": "STOP_CRITERIA_MET",
    "max_tokens": "LENGTH",
    "model_context_window_exceeded": "LENGTH",
    "content_filtered": "CONTENT_FILTERED",
    "guardrail_intervened": "CONTENT_FILTERED",
}


class _TextGenerationConfig(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    temperature: Annotated[float, Meta(ge=0, le=1)] = 0.7
    top_p: Annotated[float, Meta(ge=0, le=1)] = 0.9
    max_token_count: Annotated[int, Meta(ge=0, le=8192)] = 512
    stop_sequences: list[StopSequence] = []


class _Body(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html
    input_text: Annotated[str, Meta(min_length=1)]
    text_generation_config: _TextGenerationConfig = _TextGenerationConfig()


class _Result(Struct, frozen=True, rename="camel"):
    token_count: int
    output_text: str
    completion_reason: str


class _Response(Struct, frozen=True, rename="camel"):
    input_text_token_count: int
    results: list[_Result]


class _Chunk(Struct, frozen=True, rename="camel"):
    output_text: str
    index: int = 0
    total_output_text_token_count: int | None = None
    completion_reason: str | None = None
    input_text_token_count: int | None = None
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)


class TitanText:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        config = decoded.text_generation_config
        return Prompt(
            model_id=model_id,
            prompt=decoded.input_text,
            inference_config=InferenceConfiguration(
                max_tokens=config.max_token_count,
                temperature=config.temperature,
                top_p=config.top_p,
                stop_sequences=config.stop_sequences or None,
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:  # noqa: ARG002 - nothing of it is told
        result = _Result(
            token_count=answer.usage.output_tokens,
            output_text=said(answer.content).text,
            completion_reason=COMPLETION_REASONS[answer.stop_reason],
        )
        return msgspec.json.encode(_Response(prompt_tokens(answer.usage), [result]))

    def writer(self, invocation: Invocation) -> Writer:  # noqa: ARG002 - nothing of it is told
        return TextWriter(_Chunk, _last_chunk)


def _last_chunk(stop_reason: StopReason, usage: TokenUsage, metrics: Metrics) -> _Chunk:
    return _Chunk(
        output_text="",
        total_output_text_token_count=usage.output_tokens,
        completion_reason=COMPLETION_REASONS[stop_reason],
        input_text_token_count=prompt_tokens(usage),
        metrics=metrics,
    )
