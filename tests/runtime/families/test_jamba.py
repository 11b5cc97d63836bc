from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.jamba import Jamba
from tests.runtime.families.native import (
    FRAGMENTS,
    NATIVE_METRICS,
    chunks,
    conversation,
    refused_for,
    said,
    text,
    whole,
)

JAMBA = Jamba()
BODY = {"messages": [{"role": "user", "content": "hi"}]}


def test_messages_alone_have_the_documented_defaults() -> None:
    assert conversation(JAMBA, BODY)["inferenceConfig"] == {"temperature": 1.0, "topP": 1.0}


def test_every_field_is_honoured() -> None:
    penalties = {"frequency_penalty": 0.5, "presence_penalty": 0.0}
    fields = {"max_tokens": 10, "temperature": 2, "top_p": 0.5, "stop": ["|"], "n": 1}
    system = {"role": "system", "content": "Be brief."}

    request = conversation(JAMBA, {"messages": [system, *BODY["messages"]], **fields, **penalties})

    assert request["system"] == [{"text": "Be brief."}]
    assert request["inferenceConfig"] == {
        "maxTokens": 10,
        "temperature": 2.0,
        "topP": 0.5,
        "stopSequences": ["|"],
    }
    assert request["additionalModelRequestFields"] == penalties


def test_an_answer_has_the_documented_members() -> None:
    answer = whole(JAMBA, [text("Hello")], body=BODY, stop_reason="max_tokens")

    assert [*answer] == ["id", "choices", "usage"]
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def test_the_last_chunk_has_usage_and_metrics() -> None:
    *_, hello, last = chunks(JAMBA, said("Hello"), body=BODY)

    assert hello["choices"] == [{"delta": {"content": "Hello"}, "index": 0, "finish_reason": None}]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert last["amazon-bedrock-invocationMetrics"] == NATIVE_METRICS


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [messages] not found"),
        ({**BODY, "n": 2}, "#/n: 2 is not less or equal to 1"),
        ({**BODY, "max_tokens": 5000}, "#/max_tokens: 5000 is not less or equal to 4096"),
        ({**BODY, "temperature": 2.5}, "#/temperature: 2.5 is not less or equal to 2"),
        ({**BODY, "top_k": 1}, "#: extraneous key [top_k] is not permitted"),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(JAMBA, body) == violations


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(JAMBA, said(*fragments), body=BODY)

    told = whole(JAMBA, [text("".join(fragments))], body=BODY)["choices"][0]["message"]["content"]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in streamed) == told
