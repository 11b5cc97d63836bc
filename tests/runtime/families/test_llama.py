from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.llama import Llama
from tests.runtime.families.native import (
    FRAGMENTS,
    MODEL_ID,
    NATIVE_METRICS,
    PNG,
    chunks,
    conversation,
    message,
    plain,
    prompt,
    reasoning_block,
    refused_for,
    said,
    text,
    text_block,
    whole,
)

LLAMA = Llama()
BODY = {"prompt": "Say this is a test"}
LLAMA_3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n<|image|>What is it?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


def test_a_prompt_alone_has_the_documented_defaults() -> None:
    question = prompt(LLAMA, BODY)

    assert (question.model_id, question.prompt) == (MODEL_ID, "Say this is a test")
    assert plain(question.inference_config) == {"maxTokens": 512, "temperature": 0.5, "topP": 0.9}


def test_every_field_is_honoured() -> None:
    body = {**BODY, "temperature": 0.8, "top_p": 1, "max_gen_len": 10}

    config = prompt(LLAMA, body).inference_config

    assert plain(config) == {"maxTokens": 10, "temperature": 0.8, "topP": 1.0}


def test_an_answer_has_the_recorded_shape() -> None:
    # open-telemetry/opentelemetry-python-contrib, test_invoke_model_with_content[meta.llama].
    answer = whole(LLAMA, [text(" post.")], body=BODY, stop_reason="max_tokens")

    assert [*answer.items()] == [
        ("generation", " post."),
        ("prompt_token_count", 7),
        ("generation_token_count", 3),
        ("stop_reason", "length"),
    ]


def test_the_counts_come_with_the_last_chunk() -> None:
    assert chunks(LLAMA, said("Hel", "lo"), body=BODY) == [
        {**NOTHING_YET, "generation": "Hel"},
        {**NOTHING_YET, "generation": "lo"},
        {
            "generation": "",
            "prompt_token_count": 7,
            "generation_token_count": 3,
            "stop_reason": "stop",
            "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
        },
    ]


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [prompt] not found"),
        ({**BODY, "max_tokens": 5}, "#: extraneous key [max_tokens] is not permitted"),
        ({**BODY, "max_gen_len": 0}, "#/max_gen_len: 0 is not greater or equal to 1"),
        ({**BODY, "max_gen_len": 4096}, "#/max_gen_len: 4096 is not less or equal to 2048"),
        ({**BODY, "temperature": "1"}, "#/temperature: expected type: Number, found: String"),
        ({**BODY, "images": ["%"]}, "#/images/0: string is not a valid base64"),
        (
            {**BODY, "images": ["aGVsbG8="]},
            "#/images/0: string is not a png, jpeg, gif or webp image",
        ),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(LLAMA, body) == violations


@pytest.mark.parametrize(
    "template",
    [
        LLAMA_3,
        LLAMA_3.replace("start_header_id", "header_start")
        .replace("end_header_id", "header_end")
        .replace("eot_id", "eot"),
    ],
    ids=["Llama 3", "Llama 4"],
)
def test_with_images_the_prompt_becomes_the_conversation_it_is(template: str) -> None:
    request = conversation(LLAMA, {"prompt": template, "images": [PNG]})

    assert request["system"] == [{"text": "Be brief."}]
    assert request["messages"] == [
        {"role": "user", "content": [IMAGE, {"text": "What is it?"}]},
    ]


def test_images_without_a_place_in_the_prompt_come_before_what_the_user_says() -> None:
    request = conversation(LLAMA, {"prompt": "What is it?", "images": [PNG, PNG]})

    assert request["messages"] == [
        {"role": "user", "content": [IMAGE, IMAGE, {"text": "What is it?"}]}
    ]


def test_earlier_answers_and_the_beginning_of_this_one_are_kept() -> None:
    said_before = (
        "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nIt is"
    )

    request = conversation(LLAMA, {"prompt": said_before, "images": [PNG]})

    assert [(one["role"], one["content"][-1]) for one in request["messages"]] == [
        ("user", {"text": "hi"}),
        ("assistant", {"text": "It is"}),
    ]


def test_an_answer_that_goes_on_without_a_user_gets_one_who_shows_the_images() -> None:
    template = "<|start_header_id|>assistant<|end_header_id|>\n\nIt is"

    request = conversation(LLAMA, {"prompt": template, "images": [PNG]})

    assert request["messages"] == [
        {"role": "user", "content": [IMAGE]},
        {"role": "assistant", "content": [{"text": "It is"}]},
    ]


@pytest.mark.parametrize(
    ("data", "image_format"),
    [
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"GIF89a", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "webp"),
    ],
)
def test_an_image_is_known_by_its_first_bytes(data: bytes, image_format: str) -> None:
    request = conversation(LLAMA, {**BODY, "images": [b64encode(data).decode()]})

    assert request["messages"][0]["content"][0]["image"]["format"] == image_format


def test_a_llama_does_not_reason_whatever_stands_in_for_it_does() -> None:
    events = message(reasoning_block(0, "Hm."), text_block(1, "Hi"))

    streamed = chunks(LLAMA, events, body=BODY)

    assert [chunk["generation"] for chunk in streamed] == ["Hi", ""]


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(LLAMA, said(*fragments), body=BODY)

    at_once = whole(LLAMA, [text("".join(fragments))], body=BODY)
    assert "".join(chunk["generation"] for chunk in streamed) == at_once["generation"]
    assert [chunk["stop_reason"] for chunk in streamed[:-1]] == [None] * len(fragments)


NOTHING_YET = {"prompt_token_count": None, "generation_token_count": None, "stop_reason": None}
IMAGE = {"image": {"format": "png", "source": {"bytes": PNG}}}
