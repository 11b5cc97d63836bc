from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.titan_text import TitanText
from outcrop.wire.shapes.bedrock_runtime import StopReason
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

TITAN = TitanText()
BODY = {"inputText": "Say this is a test"}


def test_a_text_alone_has_the_documented_defaults() -> None:
    question = prompt(TITAN, BODY)

    assert question.prompt == "Say this is a test"
    assert plain(question.inference_config) == {"maxTokens": 512, "temperature": 0.7, "topP": 0.9}


def test_every_field_is_honoured() -> None:
    config = {"maxTokenCount": 10, "temperature": 0.8, "topP": 1, "stopSequences": ["|"]}

    question = prompt(TITAN, {**BODY, "textGenerationConfig": config})

    assert plain(question.inference_config) == {
        "maxTokens": 10,
        "temperature": 0.8,
        "topP": 1.0,
        "stopSequences": ["|"],
    }


def test_an_answer_has_the_recorded_shape() -> None:
    # open-telemetry/opentelemetry-python-contrib, test_invoke_model_with_content[amazon.titan].
    assert whole(TITAN, [text(" comment")], body=BODY) == {
        "inputTextTokenCount": 7,
        "results": [{"tokenCount": 3, "outputText": " comment", "completionReason": "FINISH"}],
    }


@pytest.mark.parametrize(
    ("stop_reason", "completion_reason"),
    [
        ("max_tokens", "LENGTH"),
        ("stop_sequence", "STOP_CRITERIA_MET"),
        ("content_filtered", "CONTENT_FILTERED"),
    ],
)
def test_it_says_why_it_ended(stop_reason: StopReason, completion_reason: str) -> None:
    answer = whole(TITAN, [text("a")], body=BODY, stop_reason=stop_reason)
    *_, last = chunks(TITAN, said("a", stop_reason=stop_reason), body=BODY)

    assert answer["results"][0]["completionReason"] == completion_reason
    assert last["completionReason"] == completion_reason


def test_chunks_have_the_recorded_members_in_their_order() -> None:
    first, last = chunks(TITAN, said("Hello"), body=BODY)

    assert [*first.items()] == [
        ("outputText", "Hello"),
        ("index", 0),
        ("totalOutputTextTokenCount", None),
        ("completionReason", None),
        ("inputTextTokenCount", None),
    ]
    assert last == {
        "outputText": "",
        "index": 0,
        "totalOutputTextTokenCount": 3,
        "completionReason": "FINISH",
        "inputTextTokenCount": 7,
        "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
    }


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [inputText] not found"),
        ({"inputText": ""}, "#/inputText: expected minLength: 1, actual: 0"),
        (
            {**BODY, "textGenerationConfig": {"topK": 1}},
            "#/textGenerationConfig: extraneous key [topK] is not permitted",
        ),
        (
            {**BODY, "textGenerationConfig": {"maxTokenCount": 9000}},
            "#/textGenerationConfig/maxTokenCount: 9000 is not less or equal to 8192",
        ),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(TITAN, body) == violations


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(TITAN, said(*fragments), body=BODY)

    at_once = whole(TITAN, [text("".join(fragments))], body=BODY)
    assert "".join(chunk["outputText"] for chunk in streamed) == at_once["results"][0]["outputText"]
