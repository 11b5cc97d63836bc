from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.deepseek import DeepSeekR1
from outcrop.wire.errors import ValidationException
from tests.runtime.families.native import (
    FRAGMENTS,
    NATIVE_METRICS,
    asked,
    chunks,
    message,
    plain,
    prompt,
    reasoning,
    reasoning_block,
    said,
    text,
    text_block,
    whole,
)

R1 = DeepSeekR1()
BODY = {"prompt": "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n"}  # noqa: RUF001 - its own marks


def test_every_field_is_honoured() -> None:
    fields = {"max_tokens": 32768, "temperature": 0.6, "top_p": 0.9, "stop": ["|"]}

    question = prompt(R1, {**BODY, **fields})

    assert question.prompt == BODY["prompt"]
    assert plain(question.inference_config) == {
        "maxTokens": 32768,
        "temperature": 0.6,
        "topP": 0.9,
        "stopSequences": ["|"],
    }


def test_an_answer_has_the_documented_shape() -> None:
    answer = whole(R1, [text("Hm.</think>Hi")], body=BODY)

    assert answer == {"choices": [{"text": "Hm.</think>Hi", "stop_reason": "stop"}]}


def test_reasoning_that_a_server_told_apart_is_put_back() -> None:
    events = message(reasoning_block(0, "H", "m."), text_block(1, "H", "i"))

    answer = whole(R1, [reasoning("Hm."), text("Hi")], body=BODY)
    streamed = chunks(R1, events, body=BODY)

    assert answer["choices"][0]["text"] == "Hm.\n</think>\n\nHi"
    assert "".join(one["choices"][0]["text"] for one in streamed) == "Hm.\n</think>\n\nHi"


def test_reasoning_that_leads_nowhere_is_all_there_is() -> None:
    events = message(reasoning_block(0, "Hm."), stop_reason="max_tokens")

    answer = whole(R1, [reasoning("Hm.")], body=BODY, stop_reason="max_tokens")
    streamed = chunks(R1, events, body=BODY)

    assert answer["choices"][0]["text"] == "Hm."
    assert "".join(one["choices"][0]["text"] for one in streamed) == "Hm."


def test_chunks_have_the_same_shape_and_the_last_one_the_metrics() -> None:
    assert chunks(R1, said("Hm", stop_reason="max_tokens"), body=BODY) == [
        {"choices": [{"text": "Hm", "stop_reason": None}]},
        {
            "choices": [{"text": "", "stop_reason": "length"}],
            "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
        },
    ]


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({"messages": []}, "#: required key [prompt] not found, #: extraneous key [messages]"),
        ({**BODY, "max_tokens": 40000}, "#/max_tokens: 40000 is not less or equal to 32768"),
        ({**BODY, "stop": ["|"] * 11}, "#/stop: expected maximum item count: 10, found: 11"),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    with pytest.raises(ValidationException) as refused:
        asked(R1, body)

    assert refused.value.message.startswith(f"Malformed input request: {violations}")


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(R1, said(*fragments), body=BODY)

    at_once = whole(R1, [text("".join(fragments))], body=BODY)
    told = "".join(chunk["choices"][0]["text"] for chunk in streamed)
    assert told == at_once["choices"][0]["text"]
