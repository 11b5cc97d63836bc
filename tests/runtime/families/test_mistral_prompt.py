from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.family import Family
from outcrop.runtime.families.table import family_of
from tests.runtime.families.native import (
    FRAGMENTS,
    NATIVE_METRICS,
    chunks,
    plain,
    prompt,
    refused_for,
    said,
    text,
    whole,
)

BODY = {"prompt": "<s>[INST] hi [/INST]"}


def family(model_id: str) -> Family:
    found = family_of(model_id)
    assert found is not None
    return found


SEVEN_B = family("mistral.mistral-7b-instruct-v0:2")
LARGE = family("mistral.mistral-large-2402-v1:0")


def test_a_prompt_alone_has_the_defaults_of_its_model() -> None:
    small, large = prompt(SEVEN_B, BODY), prompt(LARGE, BODY)

    assert plain(small.inference_config) == {"maxTokens": 512, "temperature": 0.5, "topP": 0.9}
    assert plain(small.additional_model_request_fields) == {"top_k": 50}
    assert plain(large.inference_config) == {"maxTokens": 8192, "temperature": 0.7, "topP": 1.0}
    assert not large.additional_model_request_fields


def test_every_field_is_honoured() -> None:
    fields = {"max_tokens": 10, "temperature": 0, "top_p": 0, "top_k": 3, "stop": ["|"]}

    question = prompt(SEVEN_B, {**BODY, **fields})

    assert plain(question.inference_config) == {
        "maxTokens": 10,
        "temperature": 0.0,
        "topP": 0.0,
        "stopSequences": ["|"],
    }
    assert plain(question.additional_model_request_fields) == {"top_k": 3}


def test_an_answer_has_the_recorded_shape() -> None:
    # open-telemetry/opentelemetry-python-contrib, test_invoke_model_with_content[mistral.mistral].
    answer = whole(SEVEN_B, [text("\n\nA man")], body=BODY, stop_reason="max_tokens")

    assert answer == {"outputs": [{"text": "\n\nA man", "stop_reason": "length"}]}


def test_chunks_have_the_same_shape_and_the_last_one_the_metrics() -> None:
    assert chunks(LARGE, said("Hel", "lo", stop_reason="stop_sequence"), body=BODY) == [
        {"outputs": [{"text": "Hel", "stop_reason": None}]},
        {"outputs": [{"text": "lo", "stop_reason": None}]},
        {
            "outputs": [{"text": "", "stop_reason": "stop"}],
            "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
        },
    ]


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [prompt] not found"),
        ({**BODY, "top_k": 500}, "#/top_k: 500 is not less or equal to 200"),
        ({**BODY, "stop": "|"}, "#/stop: expected type: JSONArray, found: String"),
        (
            {**BODY, "stop": ["|"] * 11},
            "#/stop: expected maximum item count: 10, found: 11",
        ),
        ({**BODY, "max_gen_len": 1}, "#: extraneous key [max_gen_len] is not permitted"),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(SEVEN_B, body) == violations


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(SEVEN_B, said(*fragments), body=BODY)

    at_once = whole(SEVEN_B, [text("".join(fragments))], body=BODY)
    told = "".join(chunk["outputs"][0]["text"] for chunk in streamed)
    assert told == at_once["outputs"][0]["text"]
