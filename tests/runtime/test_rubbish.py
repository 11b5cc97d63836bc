"""Whatever a model server writes is an answer or a complaint, at any chunking: nothing else."""

import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from outcrop.runtime.dialects import bedrock_events
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.anthropic_stream import MessageReader
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse, ConverseReader
from outcrop.runtime.dialects.dialect import ComplaintError, ModelEvent, Reader, StopDetail
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.runtime.dialects.token_counts import Way
from outcrop.runtime.failures import of_complaint
from outcrop.runtime.message import MessageParts
from outcrop.wire.eventstream import encode_event
from outcrop.wire.shapes.bedrock_runtime import ContentBlockDeltaEvent, ContentBlockStartEvent
from tests.fakes import anthropic_streams
from tests.fakes.model_server import sse
from tests.runtime import test_openai_servers as openai_streams
from tests.runtime.requests import converse_request

TOOL = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}
FORCED = converse_request(toolConfig={"tools": [TOOL], "toolChoice": {"any": {}}})
EMBEDDED = EmbeddedChat(system_prompt="Be brief.", max_tokens=64)
PATHS = ["/choices/0/logprobs", "/usage", "/delta/stop_sequence", "/id", "/content/0/type"]

OPENAI = [
    openai_streams.VLLM,
    openai_streams.SGLANG,
    openai_streams.LLAMA_CPP,
    openai_streams.OLLAMA,
    openai_streams.COMPLETION,
    (
        b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":'
        b'[{}]},"finish_reason":"stop"}]}\n\ndata: {"error":{"message":"no","code":500}}\n\n'
    ),
]
ANTHROPIC = [value for value in vars(anthropic_streams).values() if isinstance(value, bytes)]
BEDROCK = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}),
    ("chunk", {"bytes": "eyJnZW5lcmF0aW9uIjoiaGkifQ=="}),
]

DEEP = "[" * 100_000 + "]" * 100_000
BROKEN: list[Any] = [None, [], {}, "", "x", -1, 0, 1e300, True, 10**30, [None], {"a": []}, "\ud800"]


def mutated_json(document: Any, chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return chance.choice(BROKEN)
    if isinstance(document, dict):
        return {name: mutated_json(value, chance) for name, value in document.items()}
    if isinstance(document, list):
        return [mutated_json(value, chance) for value in document]
    return document


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.randrange(40)]
            case 2:
                changed[at:at] = chance.choice(
                    [b"\r", b"\n", b"\n\n", b"\xff", b"\\ud800", b"\0", b"null", b"data: "]
                )
            case _:
                changed[at:at] = changed[at // 2 : at]
    return bytes(changed)


def mutated_line(line: bytes, chance: random.Random) -> bytes:
    if not line.startswith(b"data: {") or chance.random() < 0.7:
        return line
    text = json.dumps(
        mutated_json(json.loads(line[6:]), chance), ensure_ascii=chance.random() < 0.5
    )
    return b"data: " + text.encode(errors="surrogatepass")


def mutated_stream(stream: bytes, chance: random.Random) -> bytes:
    lines = [mutated_line(line, chance) for line in stream.split(b"\n")]
    return mutated_bytes(chance.choice([b"\n", b"\n", b"\r\n"]).join(lines), chance)


def mutated_frames(chance: random.Random) -> bytes:
    events = [chance.choice(BEDROCK) if chance.random() < 0.1 else event for event in BEDROCK[:5]]
    frames = [
        encode_event(kind, json.dumps(mutated_json(payload, chance)).encode())
        for kind, payload in events
    ]
    frames = [mutated_bytes(frame, chance) if chance.random() < 0.1 else frame for frame in frames]
    return b"".join(frames)


def chunked(content: bytes, chance: random.Random) -> Iterator[bytes]:
    while content:
        size = chance.choice([1, 2, 7, 50, 500, 5000])
        yield content[:size]
        content = content[size:]


def read(reader: Reader, content: bytes, chance: random.Random) -> list[ModelEvent]:
    events: list[ModelEvent] = []
    try:
        for chunk in chunked(content, chance):
            events.extend(reader.feed(chunk))
        events.extend(reader.end())
    except ComplaintError as error:
        of_complaint(error.complaint, "m")
    return events


def assert_answerable(events: list[ModelEvent]) -> None:
    """What Converse does with them does not fail, either."""
    parts = MessageParts()
    for event in events:
        if isinstance(event, ContentBlockStartEvent | ContentBlockDeltaEvent):
            parts.add(event)
        if not isinstance(event, StopDetail):
            msgspec.json.encode(event)
    msgspec.json.encode(parts.blocks())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_openai_servers_that_write_rubbish_are_complained_of(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(500):
        content = mutated_stream(chance.choice(OPENAI), chance)
        for reader in (ChatReader(paths=PATHS), EMBEDDED.reader(FORCED)):
            assert_answerable(read(reader, content, chance))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_servers_of_anthropics_api_that_write_rubbish_are_complained_of(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(500):
        content = mutated_stream(chance.choice(ANTHROPIC), chance)
        assert_answerable(read(MessageReader(response_field_paths=PATHS), content, chance))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_an_amazon_that_writes_rubbish_is_complained_of(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(500):
        assert_answerable(read(ConverseReader(), mutated_frames(chance), chance))


NESTED = [
    '{"a": %s}',
    '{"error": %s}',
    '{"error": {"message": %s}}',
    '{"choices": [{"delta": {"content": "x"}, "extra": %s}]}',
    '{"type": "message_start", "message": {"extra": %s}}',
    '{"type": "content_block_start", "content_block": {"type": "tool_use", "input": %s}}',
]
BODIES = [shape % DEEP for shape in NESTED] + ['{"message": "\xff"}', "", DEEP, "null", "[]"]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_nested_without_end_or_no_text_is_a_complaint(body: str) -> None:
    content = body.encode("latin-1")
    for dialect in (OpenAiChat(), AnthropicMessages(), BedrockConverse(), EMBEDDED):
        assert dialect.complaint(500, content).status == 500
    for reader in (ChatReader(paths=PATHS), MessageReader(response_field_paths=PATHS)):
        assert_answerable(read(reader, b"data: " + content + b"\n\n", random.Random(0)))
    for kind in ("messageStop", "chunk", "contentBlockDelta"):
        read(ConverseReader(), encode_event(kind, content), random.Random(0))
    frame = encode_event("x", content)
    assert list(bedrock_events.EventFrames().feed(frame)) == [("x", content)]


def test_a_count_in_rubbish_is_no_count() -> None:
    way = Way(OpenAiChat().call(FORCED, "m", _Able()), "count")

    assert [way.counted(body.encode("latin-1")) for body in BODIES] == [None] * len(BODIES)


def test_a_calls_input_nested_without_end_is_malformed_and_kept() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "t", "arguments": DEEP}}
    other = {"index": 1, "id": "b", "function": {"name": "u", "arguments": '{"a":' + DEEP + "}"}}
    answer = {"choices": [{"delta": {"tool_calls": [call, other]}, "finish_reason": "tool_calls"}]}

    events = openai_streams.read(sse(answer))

    assert openai_streams.stop(events).stop_reason == "malformed_tool_use"
    assert [name for _, name, _ in openai_streams.calls(events)] == ["t", "u"]


class _Able:
    tools = images = documents = json_schema = reasoning = completions = prefill = True
