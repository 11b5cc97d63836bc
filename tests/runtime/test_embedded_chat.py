import json
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.dialect import ModelEvent, Prompt
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.message import MessageParts
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    MessageStopEvent,
)
from tests.fakes.model_server import delta, sse, usage
from tests.runtime.requests import converse_request

EMBEDDED = EmbeddedChat(system_prompt="Be brief.", max_tokens=64)
REF = {"type": "object", "properties": {"at": {"$ref": "#/$defs/place"}}}


def tool(name: str, **schema: Any) -> Any:
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", **schema}}}}


WEATHER = tool("weather", properties={"city": {"type": "string"}})


def body(**members: Any) -> Any:
    return json.loads(EMBEDDED.call(converse_request(**members), "m", Capabilities()).body)


def answer(stream: bytes, **members: Any) -> tuple[list[ContentBlock], str]:
    reader = EMBEDDED.reader(converse_request(**members))
    events: list[ModelEvent] = [*reader.feed(stream), *reader.end()]
    parts = MessageParts()
    for event in events:
        if isinstance(event, ContentBlockStartEvent | ContentBlockDeltaEvent):
            parts.add(event)
    stop = next(event for event in events if isinstance(event, MessageStopEvent))
    return parts.blocks(), stop.stop_reason


ANY = {"tools": [WEATHER, tool("time")], "toolChoice": {"any": {}}}


def test_a_demanded_call_is_written_under_a_schema_of_all_tools() -> None:
    made = body(toolConfig=ANY)

    calls = made["response_format"]["json_schema"]["schema"]["anyOf"]
    assert [call["properties"]["name"] for call in calls] == [
        {"const": "weather"},
        {"const": "time"},
    ]
    assert "tools" not in made
    assert '"weather"' in made["messages"][0]["content"]


def test_a_demanded_tool_is_the_only_one_offered() -> None:
    made = body(toolConfig={**ANY, "toolChoice": {"tool": {"name": "time"}}})

    schema = made["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"const": "time"}
    assert "weather" not in made["messages"][0]["content"]


def test_shared_definitions_stay_where_references_find_them() -> None:
    place = {"type": "string"}

    made = body(toolConfig={**ANY, "tools": [tool("go", **REF, **{"$defs": {"place": place}})]})

    assert made["response_format"]["json_schema"]["schema"]["$defs"] == {"place": place}


@pytest.mark.parametrize("choice", [{}, {"toolChoice": {"auto": {}}}])
def test_a_call_that_is_left_to_the_model_is_an_answer_in_text(choice: Any) -> None:
    made = body(toolConfig={"tools": [WEATHER], **choice})

    assert "response_format" not in made
    assert made["messages"][0]["content"] == "Be brief."


def test_what_was_written_is_one_call_of_a_tool() -> None:
    written = '{"name": "weather", "arguments": {"city": "Bern"}}'
    stream = sse(*map(delta, written), delta(finish_reason="stop"), usage(3, 9))

    (block,), stop_reason = answer(stream, toolConfig=ANY)

    assert block.tool_use is not None
    assert block.tool_use.name == "weather"
    assert json.loads(bytes(block.tool_use.input)) == {"city": "Bern"}
    assert stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"), [("length", "max_tokens"), ("stop", "malformed_tool_use")]
)
def test_a_call_cut_off_is_the_text_there_is(finish_reason: str, stop_reason: str) -> None:
    stream = sse(delta('{"name": "wea'), delta(finish_reason=finish_reason))

    assert answer(stream, toolConfig=ANY) == ([ContentBlock(text='{"name": "wea')], stop_reason)


def test_calls_and_results_are_told_in_words() -> None:
    call = {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "Bern"}}}
    result = {"toolResult": {"toolUseId": "a", "content": [{"json": {"c": 21}}]}}

    made = body(
        toolConfig={"tools": [WEATHER]},
        messages=[
            {"role": "user", "content": [{"text": "?"}]},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
    )

    assert [message["content"] for message in made["messages"][2:]] == [
        'Call of the tool weather: {"city": "Bern"}',
        'Tool result from weather: {"c": 21}',
    ]


def test_structured_output_is_held_to_its_schema() -> None:
    definition = {"schema": '{"type": "object"}'}
    text_format = {"type": "json_schema", "structure": {"jsonSchema": definition}}

    made = body(outputConfig={"textFormat": text_format})

    assert made["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_a_raw_prompt_is_gone_on_from() -> None:
    call = EMBEDDED.call(Prompt(model_id="m", prompt="Once"), "m", Capabilities())

    assert call.path == "/completions"
    assert json.loads(call.body)["max_tokens"] == 64


@pytest.mark.parametrize("definitions", [[], None, 1, "x"])
def test_definitions_that_are_none_are_not_shared(definitions: Any) -> None:
    made = body(toolConfig={**ANY, "tools": [tool("go", definitions=definitions)]})

    assert "definitions" not in made["response_format"]["json_schema"]["schema"]


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"role": "user" if number % 2 == 0 else "assistant", "content": [{"text": "x"}]}
            for number in range(4097)
        ],
        [{"role": "user", "content": [{"text": "x" * 5_000_000}]}],
    ],
    ids=["many messages", "a long one"],
)
def test_what_never_fits_is_refused_before_the_engine_is_asked(messages: Any) -> None:
    with pytest.raises(ValidationException) as refusal:
        body(messages=messages)

    assert refusal.value.message == "Input is too long for requested model."
