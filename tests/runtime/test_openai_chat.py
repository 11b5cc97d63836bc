import json
from itertools import pairwise
from typing import Any, TypeGuard

import pytest
from hypothesis import given, strategies as st
from msgspec import Raw
from msgspec.structs import replace

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    CachePointBlock,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    InferenceConfiguration,
    Message,
    MessageStartEvent,
    MessageStopEvent,
    SystemContentBlock,
    TokenUsage,
)
from tests.fakes.model_server import delta, sse, usage

EMBEDDED = EmbeddedChat(system_prompt="Be brief.", max_tokens=64)


def request(**members: Any) -> ConverseRequest:
    hello = Message(role="user", content=[ContentBlock(text="hello")])
    return ConverseRequest(**{"model_id": "m", "messages": [hello], **members})


def body_of(asked: ConverseRequest, dialect: OpenAiChat | EmbeddedChat | None = None) -> Any:
    return json.loads((dialect or OpenAiChat()).call(asked, "llama", Capabilities()).body)


def read(*chunks: bytes, whole: bool = False) -> list[ModelEvent]:
    reader = ChatReader(whole=whole)
    return [event for chunk in chunks for event in reader.feed(chunk)] + [*reader.end()]


def text(value: str) -> ContentBlockDeltaEvent:
    return ContentBlockDeltaEvent(delta=ContentBlockDelta(text=value), content_block_index=0)


def test_the_smallest_request_asks_for_a_stream_with_usage() -> None:
    assert body_of(request()) == {
        "model": "llama",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_member_finds_its_place() -> None:
    asked = request(
        system=[
            SystemContentBlock(text="one"),
            SystemContentBlock(cache_point=CachePointBlock(type="default")),
            SystemContentBlock(text="two"),
        ],
        messages=[
            Message(role="user", content=[ContentBlock(text="a"), ContentBlock(text="b")]),
            Message(role="assistant", content=[ContentBlock(text="c")]),
            Message(role="user", content=[ContentBlock(text="d")]),
        ],
        inference_config=InferenceConfiguration(
            max_tokens=7, temperature=0.0, top_p=0.5, stop_sequences=["END"]
        ),
        additional_model_request_fields=Raw(b'{"top_k": 5}'),
    )

    body = body_of(asked)

    assert body["messages"] == [
        {"role": "system", "content": "one\ntwo"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.0, 0.5)
    assert (body["stop"], body["top_k"]) == (["END"], 5)


@pytest.mark.parametrize("name", ["max_tokens", "messages", "stream", "n"])
def test_an_additional_field_cannot_replace_one_of_ours(name: str) -> None:
    with pytest.raises(ValidationException, match=f"The additional field {name} conflicts"):
        body_of(request(additional_model_request_fields=Raw(f'{{"{name}": 1}}'.encode())))


@pytest.mark.parametrize("document", [b"[]", b"null", b"1", b'"x"'])
def test_additional_fields_are_an_object(document: bytes) -> None:
    with pytest.raises(ValidationException, match="Provide a json object"):
        body_of(request(additional_model_request_fields=Raw(document)))


def test_the_embedded_model_always_gets_a_system_prompt_and_a_limit() -> None:
    body = body_of(request(), EMBEDDED)

    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["max_tokens"], body["return_progress"], body["verbose"]) == (64, True, False)


def test_the_callers_own_prompt_and_limit_win() -> None:
    asked = request(
        system=[SystemContentBlock(text="mine")],
        inference_config=InferenceConfiguration(max_tokens=7, stop_sequences=["x"]),
    )

    body = body_of(asked, EMBEDDED)

    assert [message["content"] for message in body["messages"]] == ["mine", "hello"]
    assert (body["max_tokens"], body["verbose"]) == (7, True)


def test_fields_for_other_models_do_not_reach_the_embedded_engine() -> None:
    fields = Raw(b'{"top_k": 5, "thinking": {}, "n_predict": 9, "stream": false}')

    body = body_of(request(additional_model_request_fields=fields), EMBEDDED)

    assert body["top_k"] == 5
    assert not {"thinking", "n_predict"} & body.keys()
    assert body["stream"] is True


ANSWER = [
    delta(""),
    delta("Hé"),
    delta("llo 🎉"),
    delta(finish_reason="stop"),
    usage(20, 5, cached=12),
]


_CALL = {"index": 0, "id": "a", "function": {"name": "t", "arguments": "{}"}}
TURNS = [
    delta(" "),
    delta("one"),
    delta("two"),
    delta(""),
    {"choices": [{"index": 0, "delta": {"reasoning": "hm"}}]},
    {"choices": [{"index": 0, "delta": {"refusal": "no"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [_CALL]}}]},
]


def joined(events: list[ModelEvent]) -> list[ModelEvent]:
    """With the text that stands in a row as one event."""
    made: list[ModelEvent] = []
    for event in events:
        last = made[-1] if made else None
        if _says(event) and _says(last) and event.content_block_index == last.content_block_index:
            both = f"{last.delta.text}{event.delta.text}"
            made[-1] = replace(last, delta=ContentBlockDelta(text=both))
        else:
            made.append(event)
    return made


def _says(event: ModelEvent | None) -> TypeGuard[ContentBlockDeltaEvent]:
    return isinstance(event, ContentBlockDeltaEvent) and event.delta.text is not None


def test_an_answer_becomes_events_in_amazons_order() -> None:
    assert read(sse(*ANSWER)) == [
        MessageStartEvent(role="assistant"),
        text("Hé"),
        text("llo 🎉"),
        ContentBlockStopEvent(content_block_index=0),
        MessageStopEvent(stop_reason="end_turn"),
        TokenUsage(
            input_tokens=8,
            output_tokens=5,
            total_tokens=25,
            cache_read_input_tokens=12,
            cache_write_input_tokens=0,
        ),
    ]


@given(st.lists(st.integers(0, len(sse(*ANSWER))), max_size=20))
def test_events_are_the_same_at_any_chunking(cuts: list[int]) -> None:
    stream = sse(*ANSWER)
    edges = [0, *sorted(cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]

    assert read(*chunks) == read(stream)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_text_arrives_as_it_was_sent(pieces: list[str]) -> None:
    stream = sse(*map(delta, pieces), delta(finish_reason="stop"))

    events = read(stream)

    sent = [e.delta.text for e in events if isinstance(e, ContentBlockDeltaEvent)]
    assert sent == pieces


def test_where_nobody_reads_along_what_came_at_once_is_one_event() -> None:
    stream = sse(*ANSWER)

    events = read(stream, whole=True)

    assert events == joined(read(stream))
    assert events[1] == text("Héllo 🎉")


def test_what_did_not_come_at_once_does_not_wait_for_the_rest() -> None:
    reader = ChatReader(whole=True)
    said = [sse(answer).removesuffix(b"data: [DONE]\n\n") for answer in ANSWER[:3]]

    told = [list(reader.feed(chunk)) for chunk in said]

    assert told == [[MessageStartEvent(role="assistant")], [text("Hé")], [text("llo 🎉")]]


@given(st.lists(st.sampled_from(TURNS), max_size=12), st.lists(st.integers(0, 3_000), max_size=6))
def test_a_whole_answer_says_what_a_stream_says(turns: list[Any], cuts: list[int]) -> None:
    stream = sse(*turns, delta(finish_reason="stop"), usage(20, 5))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]

    assert joined(read(*chunks, whole=True)) == joined(read(stream))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [b"data: {]\n\n", sse({"error": {"message": "out"}}), sse(delta(finish_reason="error"))],
)
def test_what_was_said_goes_out_before_a_complaint(wrong: bytes, *, whole: bool) -> None:
    said = sse(delta(""), delta("Hé"), delta("llo")).removesuffix(b"data: [DONE]\n\n")
    told: list[ModelEvent] = []

    with pytest.raises(ComplaintError):
        told.extend(ChatReader(whole=whole).feed(said + wrong))

    assert joined(told) == [MessageStartEvent(role="assistant"), text("Héllo")]


def test_an_answer_that_leaves_out_its_last_line_end_is_whole() -> None:
    stream = sse(*ANSWER).removesuffix(b"data: [DONE]\n\n").rstrip()

    assert read(stream) == read(sse(*ANSWER))


def test_both_dialects_are_read_alike() -> None:
    assert isinstance(OpenAiChat().reader(request()), ChatReader)
    assert isinstance(EMBEDDED.reader(request()), ChatReader)


def test_an_answer_without_text_has_no_block() -> None:
    events = read(sse(delta(""), delta(finish_reason="stop"), usage(3, 0)))

    assert [type(event) for event in events] == [MessageStartEvent, MessageStopEvent, TokenUsage]


@pytest.mark.parametrize(
    ("last", "stop_reason"),
    [
        (delta(finish_reason="stop"), "end_turn"),
        (delta(finish_reason="length"), "max_tokens"),
        (delta(finish_reason="content_filter"), "content_filtered"),
        (delta(finish_reason="tool_calls"), "tool_use"),
        (delta(finish_reason="something new"), "end_turn"),
        (delta(finish_reason="stop", stop_reason="END"), "stop_sequence"),
        (delta(finish_reason="stop", stop_reason=128001), "end_turn"),
        (delta(finish_reason="stop", matched_stop="END"), "stop_sequence"),
        ({**delta(finish_reason="stop"), "__verbose": {"stop_type": "word"}}, "stop_sequence"),
        ({**delta(finish_reason="stop"), "__verbose": {"stop_type": "eos"}}, "end_turn"),
    ],
)
def test_the_reason_to_stop_is_told(last: Any, stop_reason: str) -> None:
    events = read(sse(delta("x"), last))

    assert [e.stop_reason for e in events if isinstance(e, MessageStopEvent)] == [stop_reason]


@pytest.mark.parametrize(
    "stream",
    [
        sse(delta("x")),
        b"data: {]\n\n",
        b"data: 7\n\n",
        b"",
        b"HTTP is not spoken here",
        sse({"error": {"message": "out of memory"}}),
        b"data: " + b"x" * 9_000_000,
    ],
)
def test_rubbish_and_half_an_answer_are_complaints(stream: bytes) -> None:
    with pytest.raises(ComplaintError):
        read(stream)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"no","code":422}}', Complaint(422, "no")),
        (b'{"error":{"message":"no","code":"invalid"}}', Complaint(400, "no")),
        (b'{"error":"no"}', Complaint(400, "no")),
        (b'{"message":"no","type":"BadRequestError","code":400}', Complaint(400, "no")),
        (b"<html>no", Complaint(400, "<html>no")),
        (b"\xff", Complaint(400, "\ufffd")),
        (
            b'{"error":{"message":"9 tokens","type":"exceed_context_size_error"}}',
            Complaint(400, "9 tokens", input_too_long=True),
        ),
        (
            b'{"error":{"message":"9 tokens","code":"context_length_exceeded"}}',
            Complaint(400, "9 tokens", input_too_long=True),
        ),
        (
            b'{"message":"This model\'s maximum context length is 8 tokens."}',
            Complaint(400, "This model's maximum context length is 8 tokens.", input_too_long=True),
        ),
    ],
)
def test_every_servers_complaint_is_understood(body: bytes, said: Complaint) -> None:
    assert OpenAiChat().complaint(400, body) == said
    assert EMBEDDED.complaint(400, body) == said
