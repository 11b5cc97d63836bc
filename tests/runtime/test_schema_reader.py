import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.dialect import Dialect
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.inference import DIALECTS
from outcrop.wire.shapes.bedrock_runtime import MessageStopEvent
from tests.fakes import anthropic_streams as recorded
from tests.fakes.model_server import delta, sse
from tests.runtime.requests import converse_request

SCHEMA = {"jsonSchema": {"schema": json.dumps({"type": "object"})}}
HELD: dict[str, Any] = {
    "outputConfig": {"textFormat": {"type": "json_schema", "structure": SCHEMA}},
}
NATIVELY_HELD: dict[str, Any] = {
    "additionalModelRequestFields": {
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    },
}


def openai(text: str, reason: str = "stop") -> bytes:
    return sse(*map(delta, text), delta(finish_reason=reason))


def anthropic(text: str) -> bytes:
    deltas = [
        recorded.event(
            "content_block_delta", index=0, delta={"type": "text_delta", "text": character}
        )
        for character in text
    ]
    block = recorded.event(
        "content_block_start", index=0, content_block={"type": "text", "text": ""}
    )
    end = recorded.event("message_delta", delta={"stop_reason": "end_turn"})
    return b"".join([recorded.start(), block, *deltas, end, recorded.event("message_stop")])


def stop_reason(dialect: Dialect, answer: bytes, **members: Any) -> str:
    reader = dialect.reader(converse_request(**members))
    events = [*reader.feed(answer), *reader.end()]
    (stop,) = (event for event in events if isinstance(event, MessageStopEvent))
    return stop.stop_reason


EACH = pytest.mark.parametrize(
    ("dialect", "says"),
    [(OpenAiChat(), openai), (DIALECTS["embedded"], openai), (AnthropicMessages(), anthropic)],
)


@EACH
@pytest.mark.parametrize("text", ["Sure! {}", '{"a":', "", "```json\n{}\n```"])
def test_an_answer_that_shall_be_json_and_is_none_is_malformed(
    dialect: Dialect, says: Callable[[str], bytes], text: str
) -> None:
    assert stop_reason(dialect, says(text), **HELD) == "malformed_model_output"
    assert stop_reason(dialect, says(text)) == "end_turn"


@EACH
@given(value=st.dictionaries(st.text(), st.text() | st.integers(-9, 9), max_size=3))
def test_json_is_not_malformed(
    dialect: Dialect, says: Callable[[str], bytes], value: dict[str, Any]
) -> None:
    assert stop_reason(dialect, says(json.dumps(value)), **HELD) == "end_turn"


@pytest.mark.parametrize("dialect", [OpenAiChat(), DIALECTS["embedded"]])
def test_claudes_own_way_to_ask_for_a_schema_counts_too(dialect: Dialect) -> None:
    assert stop_reason(dialect, openai("no"), **NATIVELY_HELD) == "malformed_model_output"


def test_what_was_cut_off_could_not_be_whole() -> None:
    assert stop_reason(OpenAiChat(), openai('{"a"', "length"), **HELD) == "max_tokens"
