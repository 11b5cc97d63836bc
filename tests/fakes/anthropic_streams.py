"""Answers of Anthropic's Messages API as they come over the wire, event by event."""

import json
from typing import Any


def event(kind: str, **members: Any) -> bytes:
    """As Anthropic writes it: the name twice, and the JSON on one line."""
    data = json.dumps({"type": kind, **members}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(**usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 1,
            "service_tier": "standard",
            **usage,
        },
    }
    return event("message_start", message=message)


def block(index: int, content_block: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """A whole block: where it starts, what it says, where it stops."""
    said = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    begun = event("content_block_start", index=index, content_block=content_block)
    return b"".join([begun, *said, event("content_block_stop", index=index)])


def text(index: int, *parts: str) -> bytes:
    deltas = [{"type": "text_delta", "text": part} for part in parts]
    return block(index, {"type": "text", "text": ""}, *deltas)


def tool_use(index: int, tool_use_id: str, name: str, *fragments: str) -> bytes:
    begun = {"type": "tool_use", "id": tool_use_id, "name": name, "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in fragments]
    return block(index, begun, *deltas)


def stop(reason: str, sequence: str | None = None, **usage: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    told = event("message_delta", delta=delta, usage={"output_tokens": 15, **usage})
    return told + event("message_stop")


PING = event("ping")

HELLO = start() + PING + text(0, "Hello", ", wörld 🌍!") + stop("end_turn")

# Thought, redacted thought, words, and two tools at once, one of them without input.
EVERYTHING = b"".join(
    [
        start(),
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Two cities, "},
            {"type": "thinking_delta", "thinking": "two calls. 🤔"},
            {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
        ),
        PING,
        block(1, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"}),
        text(2, "I'll look."),
        tool_use(3, "toolu_01A09q90qw90lq917835lq9", "get_weather", "", '{"ci', 'ty": "Kö', 'ln"}'),
        tool_use(4, "toolu_01B", "now", ""),
        stop("tool_use"),
    ]
)

# One of Anthropic's own tools, what it found, and words that quote it.
SEARCHED = b"".join(
    [
        start(),
        block(
            0,
            {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query": "slate"}'},
        ),
        block(
            1,
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srvtoolu_01",
                "content": [
                    {
                        "type": "web_search_result",
                        "title": "Slate",
                        "url": "https://example.com/slate",
                        "encrypted_content": "Eo8BCioI",
                    }
                ],
            },
        ),
        block(
            2,
            {"type": "text", "text": "", "citations": []},
            {
                "type": "citations_delta",
                "citation": {
                    "type": "web_search_result_location",
                    "url": "https://example.com/slate",
                    "title": "Slate",
                    "encrypted_index": "Eo8BCioI",
                    "cited_text": "Slate is a rock.",
                },
            },
            {"type": "text_delta", "text": "A rock."},
        ),
        stop("end_turn"),
    ]
)
