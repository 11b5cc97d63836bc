from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.mistral_chat import MistralChat, vendors_name
from outcrop.runtime.families.table import family_of
from tests.runtime.families.native import (
    FRAGMENTS,
    NATIVE_METRICS,
    PNG,
    chunks,
    conversation,
    message,
    prompt,
    refused_for,
    said,
    text,
    text_block,
    tool_block,
    tool_use,
    whole,
)

CHAT = MistralChat()
MODEL = "mistral.mistral-large-2407-v1:0"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}


def test_messages_alone_have_the_documented_defaults() -> None:
    request = conversation(CHAT, BODY)

    assert request["inferenceConfig"] == {"temperature": 0.7, "topP": 1.0}


def test_every_field_is_honoured() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        *BODY["messages"],
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "function": CALL["function"]}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    fields = {"max_tokens": 10, "temperature": 0, "top_p": 0.5, "stop": ["|"]}

    request = conversation(
        CHAT, {"messages": messages, "tools": [WEATHER], "tool_choice": "any", **fields}
    )

    assert request["system"] == [{"text": "Be brief."}]
    assert [[*block] for one in request["messages"] for block in one["content"]] == [
        ["text"],
        ["toolUse"],
        ["toolResult"],
    ]
    assert request["inferenceConfig"] == {
        "maxTokens": 10,
        "temperature": 0.0,
        "topP": 0.5,
        "stopSequences": ["|"],
    }
    assert request["toolConfig"]["toolChoice"] == {"any": {}}


def test_pixtral_sees_images() -> None:
    url = f"data:image/png;base64,{PNG}"
    part = {"type": "image_url", "image_url": {"url": url}}

    request = conversation(CHAT, {"messages": [{"role": "user", "content": [part]}]})

    assert request["messages"][0]["content"] == [
        {"image": {"format": "png", "source": {"bytes": PNG}}}
    ]


def test_an_answer_has_a_stop_reason_and_no_finish_reason() -> None:
    calls = [text("One moment."), tool_use("call_1", "weather", '{"city":"Bern"}')]

    answer = whole(CHAT, calls, body=BODY, stop_reason="tool_use", model=MODEL)

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "One moment.", "tool_calls": [CALL]},
            "logprobs": None,
            "stop_reason": "tool_calls",
        }
    ]
    assert (answer["object"], answer["model"]) == ("chat.completion", "mistral-large-2407")
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def test_chunks_have_a_message_and_no_delta() -> None:
    first, hello, last = chunks(CHAT, said("Hello"), body=BODY, model=MODEL)

    assert first["choices"][0]["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": None,
    }
    # As recorded of mistral-large-2407, less the members that are always null.
    assert hello == {
        "id": "abc123",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": "mistral-large-2407",
        "choices": [
            {
                "index": 0,
                "message": {"role": None, "content": "Hello", "tool_calls": None},
                "logprobs": None,
                "stop_reason": None,
            }
        ],
        "usage": None,
    }
    assert last["choices"][0]["stop_reason"] == "stop"
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert last["amazon-bedrock-invocationMetrics"] == NATIVE_METRICS


def test_a_tool_call_is_streamed_when_it_is_whole() -> None:
    events = message(
        text_block(0, "One moment."),
        tool_block(1, "call_1", "weather", '{"city":', '"Bern"}'),
        stop_reason="tool_use",
    )

    *_, call, last = chunks(CHAT, events, body=BODY)

    assert call["choices"][0]["message"]["tool_calls"] == [CALL]
    assert last["choices"][0]["stop_reason"] == "tool_calls"


@pytest.mark.parametrize("model_id", ["mistral.mistral-large-2402-v1:0", MODEL])
def test_mistral_large_takes_a_prompt_as_well(model_id: str) -> None:
    family = family_of(model_id)
    assert family is not None
    body = {"prompt": "<s>[INST] hi [/INST]"}

    question = prompt(family, body)
    answer = whole(family, [text("Hello")], body=body)
    streamed = chunks(family, said("Hello"), body=body)

    assert question.prompt == body["prompt"]
    assert answer == {"outputs": [{"text": "Hello", "stop_reason": "stop"}]}
    assert streamed[0] == {"outputs": [{"text": "Hello", "stop_reason": None}]}
    assert conversation(family, BODY)["messages"]


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [messages] not found"),
        (
            {**BODY, "tool_choice": "all"},
            "#/tool_choice: no subschema matched out of the total 2 subschemas",
        ),
        ({**BODY, "temperature": 1.5}, "#/temperature: 1.5 is not less or equal to 1"),
        ({**BODY, "n": 2}, "#: extraneous key [n] is not permitted"),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(CHAT, body) == violations


def test_a_models_own_name_has_neither_vendor_nor_version() -> None:
    assert vendors_name("mistral.pixtral-large-2502-v1:0") == "pixtral-large-2502"


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(CHAT, said(*fragments), body=BODY)

    told = whole(CHAT, [text("".join(fragments))], body=BODY)["choices"][0]["message"]["content"]
    assert "".join(chunk["choices"][0]["message"]["content"] for chunk in streamed) == told
