"""Anthropic's tool search, for callers of InvokeModel: it is run by Anthropic, within one turn."""

import json
from typing import Any

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.families.anthropic import Anthropic
from outcrop.runtime.families.family import Answer
from outcrop.runtime.message import collected
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseStreamMetadataEvent,
    ConverseStreamMetrics,
    TokenUsage,
)
from tests.fakes import anthropic_streams as recorded
from tests.runtime.families.native import METRICS, USAGE, asked, invocation

CLAUDE = Anthropic()
FOUND = {
    "type": "tool_search_tool_search_result",
    "tool_references": [{"type": "tool_reference", "tool_name": "weather"}],
}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "tool_search_tool_regex",
    "input": {"query": "weather"},
}
RESULT = {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": FOUND}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
TURN = [SEARCH, RESULT, CALL]
BODY: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": TURN},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 C"}],
        },
    ],
    "tools": [
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        {"name": "weather", "input_schema": {"type": "object"}},
    ],
}


def events() -> list[Any]:
    """As a server of Anthropic's tells them."""
    pieces = [recorded.start()]
    for index, block in enumerate(TURN):
        begun = {**block, "input": {}} if "input" in block else block
        pieces.append(recorded.event("content_block_start", index=index, content_block=begun))
        if "input" in block:
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            pieces.append(recorded.event("content_block_delta", index=index, delta=delta))
        pieces.append(recorded.event("content_block_stop", index=index))
    pieces.append(recorded.event("message_delta", delta={"stop_reason": "tool_use"}))
    pieces.append(recorded.event("message_stop"))
    reader = AnthropicMessages().reader(asked(CLAUDE, BODY))
    return [event for piece in pieces for event in reader.feed(piece)] + [*reader.end()]


def test_a_search_goes_back_to_anthropic_as_it_came() -> None:
    call = AnthropicMessages().call(asked(CLAUDE, BODY), "m", Capabilities(documents=True))

    assert json.loads(call.body)["messages"][1]["content"] == TURN


def test_a_search_is_answered_whole_as_anthropic_does() -> None:
    metadata = ConverseStreamMetadataEvent(usage=USAGE, metrics=ConverseStreamMetrics(latency_ms=1))
    told = [event for event in events() if not isinstance(event, TokenUsage)]
    response = collected([*told, metadata])
    assert response.output.message is not None

    answer = Answer(
        content=response.output.message.content, stop_reason=response.stop_reason, usage=USAGE
    )

    assert json.loads(CLAUDE.response(answer, invocation(BODY)))["content"] == TURN


def test_a_search_is_streamed_as_anthropic_does() -> None:
    writer = CLAUDE.writer(invocation(BODY))
    chunks = [json.loads(chunk) for event in events() for chunk in writer.feed(event)]
    chunks += map(json.loads, writer.end(METRICS))

    started = [x["content_block"] for x in chunks if x["type"] == "content_block_start"]
    stopped = [x["index"] for x in chunks if x["type"] == "content_block_stop"]
    assert started == [{**SEARCH, "input": {}}, RESULT, {**CALL, "input": {}}]
    assert stopped == [0, 1, 2]


def test_to_others_a_search_is_text_and_no_call_that_nobody_answers() -> None:
    body = {**BODY, "tools": BODY["tools"][1:]}

    call = OpenAiChat().call(asked(CLAUDE, body), "m", Capabilities())

    _, said, answered = json.loads(call.body)["messages"]
    assert [one["function"]["name"] for one in said["tool_calls"]] == ["weather"]
    assert "tool_search_tool_regex" in json.dumps(said["content"])
    assert "tool_reference" in json.dumps(said["content"])
    assert answered["role"] == "tool"
