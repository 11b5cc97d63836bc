from typing import Any

import pytest
from hypothesis import given

from outcrop.runtime.families.cohere_command import CohereCommand
from outcrop.wire.errors import ValidationException
from tests.runtime.families.native import (
    FRAGMENTS,
    NATIVE_METRICS,
    asked,
    chunks,
    conversation,
    message,
    plain,
    prompt,
    refused_for,
    said,
    text,
    text_block,
    tool_block,
    tool_use,
    whole,
)

COMMAND = CohereCommand()
BODY = {"message": "Say this is a test"}
HISTORY = [
    {"role": "USER", "message": "Who discovered gravity?"},
    {"role": "CHATBOT", "message": "Isaac Newton"},
]
SALES = {"name": "sales", "parameters": {"day": "2024-01-01"}}


def test_a_message_alone_has_the_documented_defaults() -> None:
    request = conversation(COMMAND, BODY)

    assert request["messages"] == [{"role": "user", "content": [{"text": BODY["message"]}]}]
    assert request["inferenceConfig"] == {"temperature": 0.3, "topP": 0.75}
    assert "additionalModelRequestFields" not in request


def test_every_field_is_honoured() -> None:
    fields = {
        "max_tokens": 10,
        "temperature": 0.8,
        "p": 0.99,
        "k": 5,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "stop_sequences": ["|"],
        "preamble": "Be brief.",
        "chat_history": HISTORY,
        "prompt_truncation": "OFF",
        "return_prompt": False,
    }

    request = conversation(COMMAND, {**BODY, **fields})

    assert request["system"] == [{"text": "Be brief."}]
    assert [(one["role"], one["content"]) for one in request["messages"]] == [
        ("user", [{"text": "Who discovered gravity?"}]),
        ("assistant", [{"text": "Isaac Newton"}]),
        ("user", [{"text": BODY["message"]}]),
    ]
    assert request["inferenceConfig"] == {
        "maxTokens": 10,
        "temperature": 0.8,
        "topP": 0.99,
        "stopSequences": ["|"],
    }
    assert request["additionalModelRequestFields"] == {
        "top_k": 5,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
    }


def test_documents_are_given_to_the_model_to_read() -> None:
    documents = [{"title": "Tall penguins: a study", "snippet": "Emperors are the tallest."}, {}]

    blocks = asked(COMMAND, {**BODY, "documents": documents}).messages[0].content

    first, second, question = blocks
    assert first.document.name == "1 Tall penguins a study"
    told = "title: Tall penguins: a study\nsnippet: Emperors are the tallest."
    assert first.document.source.text == told
    assert (first.document.format, second.document.name) == ("txt", "2")
    assert question.text == BODY["message"]


def test_parameter_definitions_become_a_json_schema() -> None:
    tool = {
        "name": "sales",
        "description": "What was sold",
        "parameter_definitions": {
            "day": {"description": "Which day", "type": "str", "required": True},
            "shops": {"type": "List[int]"},
            "what": {"type": "anything"},
            "deep": {"type": "list[" * 1_000_000},
        },
    }

    request = conversation(COMMAND, {**BODY, "tools": [tool]})

    assert request["toolConfig"]["tools"][0]["toolSpec"] == {
        "name": "sales",
        "description": "What was sold",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {
                    "day": {"type": "string", "description": "Which day"},
                    "shops": {"type": "array", "items": {"type": "integer"}},
                    "what": {},
                    "deep": {},
                },
                "required": ["day"],
            }
        },
    }


def test_tool_results_bring_their_calls_with_them() -> None:
    results = [{"call": SALES, "outputs": [{"sold": "5"}, {"sold": "6"}]}]

    request = conversation(COMMAND, {**BODY, "tool_results": results})

    question, calls, answers = request["messages"]
    assert question["content"] == [{"text": BODY["message"]}]
    assert calls == {"role": "assistant", "content": [{"toolUse": _use("call_0_0")}]}
    assert answers["content"] == [
        {
            "toolResult": {
                "toolUseId": "call_0_0",
                "content": [{"json": {"sold": "5"}}, {"json": {"sold": "6"}}],
            }
        }
    ]


def test_an_agents_next_step_takes_the_calls_from_the_history() -> None:
    history = [HISTORY[0], {"role": "CHATBOT", "message": "I look.", "tool_calls": [SALES]}]
    results = [{"call": SALES, "outputs": [{"sold": "5"}]}]

    request = conversation(
        COMMAND, {"message": "", "chat_history": history, "tool_results": results}
    )

    _, calls, answers = request["messages"]
    assert calls["content"] == [{"text": "I look."}, {"toolUse": _use("call_1_0")}]
    assert answers["content"][0]["toolResult"]["toolUseId"] == "call_1_0"


def test_a_raw_prompt_is_one() -> None:
    question = prompt(COMMAND, {**BODY, "raw_prompting": True, "max_tokens": 10})

    assert question.prompt == BODY["message"]
    assert plain(question.inference_config)["maxTokens"] == 10


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [message] not found"),
        # github.com/Portkey-AI/gateway/issues/848
        ({**BODY, "stream": True}, "#: extraneous key [stream] is not permitted"),
        ({**BODY, "p": 1}, "#/p: 1 is not less or equal to 0.99"),
        (
            {**BODY, "chat_history": [{"role": "user", "message": "hi"}]},
            "#/chat_history/0/role: user is not a valid enum value",
        ),
        (
            {**BODY, "prompt_truncation": "AUTO_PRESERVE_ORDER"},
            "#/prompt_truncation: AUTO_PRESERVE_ORDER is not a valid enum value",
        ),
        (
            {**BODY, "search_queries_only": True},
            "#/search_queries_only: true is not a valid enum value",
        ),
        ({**BODY, "return_prompt": True}, "#/return_prompt: true is not a valid enum value"),
        (
            {**BODY, "raw_prompting": True, "preamble": "Be brief."},
            "#: extraneous key [preamble] is not permitted",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(COMMAND, body) == violations


def test_an_answer_has_the_recorded_members_in_their_order() -> None:
    # open-telemetry/opentelemetry-python-contrib, test_invoke_model_with_content[cohere.command-r].
    answer = whole(COMMAND, [text("This is a test.")], body=BODY, stop_reason="max_tokens")

    assert [*answer] == ["response_id", "text", "generation_id", "chat_history", "finish_reason"]
    assert answer["text"] == "This is a test."
    assert answer["finish_reason"] == "MAX_TOKENS"
    assert answer["chat_history"] == [
        {"role": "USER", "message": BODY["message"]},
        {"role": "CHATBOT", "message": "This is a test."},
    ]
    assert answer["response_id"] != answer["generation_id"]


def test_tool_calls_are_answered_and_kept_in_the_history() -> None:
    calls = [tool_use("x", "sales", '{"day":"2024-01-01"}')]

    answer = whole(COMMAND, calls, body={**BODY, "chat_history": HISTORY}, stop_reason="tool_use")

    assert answer["tool_calls"] == [SALES]
    assert answer["chat_history"] == [
        *HISTORY,
        {"role": "USER", "message": BODY["message"]},
        {"role": "CHATBOT", "message": "", "tool_calls": [SALES]},
    ]


def test_a_stream_starts_tells_and_ends_with_everything_once_more() -> None:
    start, *deltas, end = chunks(COMMAND, said("Hel", "lo"), body=BODY)

    answer = whole(COMMAND, [text("Hello")], body=BODY)
    assert start == {
        "event_type": "stream-start",
        "is_finished": False,
        "generation_id": answer["generation_id"],
    }
    assert deltas == [
        {"event_type": "text-generation", "is_finished": False, "text": part}
        for part in ("Hel", "lo")
    ]
    assert end == {
        "event_type": "stream-end",
        "is_finished": True,
        "response": answer,
        "finish_reason": "COMPLETE",
        "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
    }


def test_tool_calls_are_streamed_when_they_are_whole() -> None:
    events = message(
        text_block(0, "I look."),
        tool_block(1, "x", "sales", '{"day":', '"2024-01-01"}'),
        tool_block(2, "y", "sales", '{"day":'),
        stop_reason="tool_use",
    )

    *_, calls, end = chunks(COMMAND, events, body=BODY)

    broken_off = {"name": "sales", "parameters": {}}
    assert calls == {
        "event_type": "tool-calls-generation",
        "is_finished": False,
        "tool_calls": [SALES, broken_off],
    }
    assert end["response"]["tool_calls"] == [SALES, broken_off]


@pytest.mark.parametrize("depth", [300, 985, 100_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    outputs = f'[{{"call":{{"name":"sales"}},"outputs":[{{"x":{deep}}}]}}]'
    body = f'{{"message":"hi","tool_results":{outputs}}}'.encode()

    with pytest.raises(ValidationException, match="Malformed input request"):
        COMMAND.asked(body, "m", streaming=False)


@pytest.mark.parametrize("parameters", ["[" * 10_000, '"x"', "[1]"])
def test_what_is_no_object_is_no_parameters(parameters: str) -> None:
    *_, end = chunks(COMMAND, message(tool_block(0, "x", "sales", parameters)), body=BODY)

    assert end["response"]["tool_calls"] == [{"name": "sales", "parameters": {}}]


@given(FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(fragments: list[str]) -> None:
    streamed = chunks(COMMAND, said(*fragments), body=BODY)

    told = whole(COMMAND, [text("".join(fragments))], body=BODY)
    assert "".join(chunk.get("text", "") for chunk in streamed) == told["text"]
    assert streamed[-1]["response"] == told


def _use(tool_use_id: str) -> dict[str, Any]:
    return {"toolUseId": tool_use_id, "name": "sales", "input": SALES["parameters"]}
