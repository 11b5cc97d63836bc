from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import Raw

from outcrop.runtime.dialects.anthropic_stream import MessageReader, complaint
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent, StopDetail
from outcrop.runtime.message import MessageParts
from outcrop.wire.shapes.bedrock_runtime import (
    CacheDetail,
    CitationLocation,
    CitationsDelta,
    CitationSourceContentDelta,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    DocumentCharLocation,
    DocumentChunkLocation,
    DocumentPageLocation,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    SearchResultLocation,
    TokenUsage,
    ToolResultBlockDelta,
    ToolResultBlockStart,
    ToolUseBlockDelta,
    ToolUseBlockStart,
    WebLocation,
)
from tests.fakes import anthropic_streams as recorded

START = MessageStartEvent(role="assistant")
USAGE = TokenUsage(
    input_tokens=25,
    output_tokens=15,
    total_tokens=40,
    cache_read_input_tokens=0,
    cache_write_input_tokens=0,
)


def read(*chunks: bytes, paths: Sequence[str] = ()) -> list[ModelEvent]:
    reader = MessageReader(response_field_paths=paths)
    return [event for chunk in chunks for event in reader.feed(chunk)] + [*reader.end()]


def delta(index: int, **members: Any) -> ContentBlockDeltaEvent:
    return ContentBlockDeltaEvent(delta=ContentBlockDelta(**members), content_block_index=index)


def begun(index: int, tool_use_id: str, name: str, kind: Any = None) -> ContentBlockStartEvent:
    use = ToolUseBlockStart(tool_use_id=tool_use_id, name=name, type=kind)
    return ContentBlockStartEvent(start=ContentBlockStart(tool_use=use), content_block_index=index)


def ended(index: int) -> ContentBlockStopEvent:
    return ContentBlockStopEvent(content_block_index=index)


def thought(index: int, **members: Any) -> ContentBlockDeltaEvent:
    return delta(index, reasoning_content=ReasoningContentBlockDelta(**members))


def given_input(index: int, fragment: str) -> ContentBlockDeltaEvent:
    return delta(index, tool_use=ToolUseBlockDelta(input=fragment))


def stopped_because(reason: str) -> MessageStopEvent:
    (event,) = [
        event
        for event in read(recorded.start(), recorded.text(0, "x"), recorded.stop(reason))
        if isinstance(event, MessageStopEvent)
    ]
    return event


def test_text_arrives_in_the_order_of_converse() -> None:
    assert read(recorded.HELLO) == [
        START,
        delta(0, text="Hello"),
        delta(0, text=", wörld 🌍!"),
        ended(0),
        MessageStopEvent(stop_reason="end_turn"),
        USAGE,
    ]


def test_reasoning_and_parallel_tools_arrive_block_by_block() -> None:
    assert read(recorded.EVERYTHING) == [
        START,
        thought(0, text="Two cities, "),
        thought(0, text="two calls. 🤔"),
        thought(0, signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
        ended(0),
        thought(1, redacted_content=b"EmwKAhgBEgy3va3pzix/LafPsn4a"),
        ended(1),
        delta(2, text="I'll look."),
        ended(2),
        begun(3, "toolu_01A09q90qw90lq917835lq9", "get_weather"),
        given_input(3, ""),
        given_input(3, '{"ci'),
        given_input(3, 'ty": "Kö'),
        given_input(3, 'ln"}'),
        ended(3),
        begun(4, "toolu_01B", "now"),
        given_input(4, ""),
        ended(4),
        MessageStopEvent(stop_reason="tool_use"),
        USAGE,
    ]


def test_what_anthropics_own_tools_find_arrives_with_its_citations() -> None:
    found = Raw(
        b'{"type": "web_search_result", "title": "Slate", "url": "https://example.com/slate",'
        b' "encrypted_content": "Eo8BCioI"}'
    )
    result = ToolResultBlockStart(
        tool_use_id="srvtoolu_01", type="web_search_tool_result", status="success"
    )
    cited = CitationsDelta(
        title="Slate",
        source_content=[CitationSourceContentDelta(text="Slate is a rock.")],
        location=CitationLocation(web=WebLocation(url="https://example.com/slate")),
    )

    assert read(recorded.SEARCHED)[1:-2] == [
        begun(0, "srvtoolu_01", "web_search", "server_tool_use"),
        given_input(0, '{"query": "slate"}'),
        ended(0),
        ContentBlockStartEvent(start=ContentBlockStart(tool_result=result), content_block_index=1),
        delta(1, tool_result=[ToolResultBlockDelta(json=found)]),
        ended(1),
        delta(2, citation=cited),
        delta(2, text="A rock."),
        ended(2),
    ]


def test_a_tool_of_anthropics_that_failed_says_so() -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    failed = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": error}

    started, told, *_ = read(
        recorded.start(), recorded.block(0, failed), recorded.stop("end_turn")
    )[1:]

    assert isinstance(started, ContentBlockStartEvent)
    assert started.start.tool_result is not None
    assert started.start.tool_result.status == "error"
    assert isinstance(told, ContentBlockDeltaEvent)
    assert told.delta.tool_result == [
        ToolResultBlockDelta(
            json=Raw(b'{"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}')
        )
    ]


LOCATIONS: list[tuple[dict[str, Any], CitationLocation]] = [
    (
        {"type": "char_location", "document_index": 1, "start_char_index": 2, "end_char_index": 3},
        CitationLocation(document_char=DocumentCharLocation(document_index=1, start=2, end=3)),
    ),
    (
        {
            "type": "page_location",
            "document_index": 1,
            "start_page_number": 2,
            "end_page_number": 3,
        },
        CitationLocation(document_page=DocumentPageLocation(document_index=1, start=2, end=3)),
    ),
    (
        {
            "type": "content_block_location",
            "document_index": 1,
            "start_block_index": 2,
            "end_block_index": 3,
        },
        CitationLocation(document_chunk=DocumentChunkLocation(document_index=1, start=2, end=3)),
    ),
    (
        {
            "type": "search_result_location",
            "search_result_index": 1,
            "start_block_index": 2,
            "end_block_index": 3,
        },
        CitationLocation(
            search_result_location=SearchResultLocation(search_result_index=1, start=2, end=3)
        ),
    ),
]


@pytest.mark.parametrize(("citation", "location"), LOCATIONS)
def test_every_kind_of_citation_finds_its_location(
    citation: dict[str, Any], location: CitationLocation
) -> None:
    cited = {"cited_text": "rock", "document_title": "Stones", "file_id": None, **citation}
    block = recorded.block(
        0, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": cited}
    )

    event = read(recorded.start(), block, recorded.stop("end_turn"))[1]

    assert event == delta(
        0,
        citation=CitationsDelta(
            title="Stones",
            source_content=[CitationSourceContentDelta(text="rock")],
            location=location,
        ),
    )


def test_a_citation_of_an_unknown_kind_keeps_what_it_quotes() -> None:
    cited = {"type": "moon_location", "cited_text": "rock", "title": "Moon", "source": "s"}
    block = recorded.block(
        0, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": cited}
    )

    event = read(recorded.start(), block, recorded.stop("end_turn"))[1]

    quoted = [CitationSourceContentDelta(text="rock")]
    assert event == delta(
        0, citation=CitationsDelta(title="Moon", source="s", source_content=quoted)
    )


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "tool_use"),
        ("refusal", "content_filtered"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
        ("pause_turn", "end_turn"),
        ("a reason of the future", "end_turn"),
    ],
)
def test_every_stop_reason_has_its_word_in_converse(reason: str, meant: str) -> None:
    assert stopped_because(reason).stop_reason == meant


def test_the_stop_sequence_is_told_before_the_end() -> None:
    events = read(recorded.start(), recorded.text(0, "x"), recorded.stop("stop_sequence", "END"))

    assert events[-3:-1] == [StopDetail("END"), MessageStopEvent(stop_reason="stop_sequence")]


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["/stop_sequence"], b'{"stop_sequence":"END"}'),
        (["/delta/stop_sequence"], b'{"delta":{"stop_sequence":"END"}}'),
        (["/model", "/nothing"], b'{"model":"claude-sonnet-4-5-20250929"}'),
        (["/nothing"], b""),
    ],
)
def test_fields_of_the_answer_come_back_on_request(paths: list[str], found: bytes) -> None:
    events = read(
        recorded.start(),
        recorded.text(0, "x"),
        recorded.stop("stop_sequence", "END"),
        paths=paths,
    )

    stop = events[-2]
    assert isinstance(stop, MessageStopEvent)
    assert bytes(stop.additional_model_response_fields) == found


def test_tokens_of_the_cache_are_counted_apart() -> None:
    written = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    counts = {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100}

    usage = read(
        recorded.start(**counts, cache_creation=written),
        recorded.text(0, "x"),
        recorded.stop("end_turn", input_tokens=26),
    )[-1]

    assert usage == TokenUsage(
        input_tokens=26,
        output_tokens=15,
        total_tokens=26 + 15 + 1100,
        cache_read_input_tokens=1000,
        cache_write_input_tokens=100,
        cache_details=[
            CacheDetail(ttl="1h", input_tokens=70),
            CacheDetail(ttl="5m", input_tokens=30),
        ],
    )


def test_a_server_that_knows_a_block_at_its_start_may_say_it_at_once() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    events = read(
        recorded.start(),
        recorded.block(0, {"type": "thinking", "thinking": "hm", "signature": "s"}),
        recorded.block(1, {"type": "text", "text": "now"}),
        recorded.block(2, use),
        recorded.stop("tool_use"),
    )

    assert events[1:-2] == [
        thought(0, text="hm"),
        thought(0, signature="s"),
        ended(0),
        delta(1, text="now"),
        ended(1),
        begun(2, "t1", "f"),
        given_input(2, '{"a": 1}'),
        ended(2),
    ]


def test_what_is_not_known_is_passed_over() -> None:
    events = read(
        recorded.start(),
        recorded.event("a_new_event", news=1),
        recorded.block(0, {"type": "container_upload", "file_id": "f"}),
        recorded.block(1, {"type": "text", "text": ""}, {"type": "new_delta", "x": 1}),
        recorded.stop("end_turn"),
        b"data: [DONE]\n\n",
    )

    assert events == [START, ended(1), MessageStopEvent(stop_reason="end_turn"), USAGE]


def test_an_answer_that_lacks_only_its_farewell_is_whole() -> None:
    without_farewell = recorded.HELLO.removesuffix(recorded.event("message_stop"))

    assert read(without_farewell) == read(recorded.HELLO)


def test_an_answer_may_end_without_its_last_line_break() -> None:
    assert read(recorded.HELLO.rstrip()) == read(recorded.HELLO)


def test_a_server_may_count_less_than_anthropic() -> None:
    start = recorded.event("message_start", message={"usage": {"input_tokens": 3}})
    delta = {"stop_reason": "end_turn"}

    usage = read(start, recorded.text(0, "x"), recorded.event("message_delta", delta=delta))[-1]

    assert usage == TokenUsage(input_tokens=3, output_tokens=0, total_tokens=3)


def test_a_block_that_was_left_open_is_closed_at_the_end() -> None:
    begin = recorded.event("content_block_start", index=0, content_block={"type": "text"})

    assert read(recorded.start(), begin, recorded.stop("max_tokens"))[1] == ended(0)


@pytest.mark.parametrize("kept", range(1, recorded.HELLO.count(b"\n\n") - 2))
def test_an_answer_cut_short_is_a_failure(kept: int) -> None:
    events = recorded.HELLO.split(b"\n\n")

    with pytest.raises(ComplaintError, match="before the model was done"):
        read(b"\n\n".join(events[:kept]) + b"\n\n")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("invalid_request_error", 400),
        ("an_error_of_the_future", 502),
    ],
)
def test_an_error_in_the_stream_ends_it_with_the_status_it_stands_for(
    kind: str, status: int
) -> None:
    error = recorded.event("error", error={"type": kind, "message": "Overloaded"})
    reader = MessageReader()
    heard = [*reader.feed(recorded.start() + recorded.text(0, "x"))]

    with pytest.raises(ComplaintError) as raised:
        [*reader.feed(error)]

    assert len(heard) == 3
    assert raised.value.complaint == Complaint(status, "Overloaded")


@pytest.mark.parametrize("rubbish", [b"data: <html>\n\n", b"data: []\n\n", b"data: {}\n\n"])
def test_rubbish_is_a_failure_of_the_server(rubbish: bytes) -> None:
    with pytest.raises(ComplaintError, match="not an event of Messages"):
        read(recorded.start(), rubbish)


def test_an_endless_line_is_a_failure_of_the_server() -> None:
    with pytest.raises(ComplaintError, match="endless"):
        read(b"data: " + b"x" * (9 * 1024 * 1024))


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        (
            b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: 0"}}',
            Complaint(400, "max_tokens: 0"),
        ),
        (
            b'{"type":"error","error":{"message":"prompt is too long: 205 tokens > 200 maximum"}}',
            Complaint(400, "prompt is too long: 205 tokens > 200 maximum", input_too_long=True),
        ),
        (b"<html>bad gateway</html>\n", Complaint(400, "<html>bad gateway</html>")),
        (b'{"error":{}}', Complaint(400, '{"error":{}}')),
    ],
)
def test_a_complaint_is_read_from_whatever_came(body: bytes, meant: Complaint) -> None:
    assert complaint(400, body) == meant


@given(st.lists(st.integers(0, len(recorded.EVERYTHING)), max_size=8))
def test_any_chunking_tells_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(recorded.EVERYTHING)]
    chunks = [recorded.EVERYTHING[a:b] for a, b in pairwise(places)]

    assert read(*chunks) == read(recorded.EVERYTHING)


@given(st.lists(st.text(min_size=1)), st.lists(st.text()))
def test_any_text_and_any_fragments_come_through_as_they_are(
    texts: list[str], fragments: list[str]
) -> None:
    events = read(
        recorded.start(),
        recorded.text(0, *texts),
        recorded.tool_use(1, "t", "f", *fragments),
        recorded.stop("tool_use"),
    )

    deltas = [event.delta for event in events if isinstance(event, ContentBlockDeltaEvent)]
    assert [d.text for d in deltas if d.text is not None] == texts
    assert [d.tool_use.input for d in deltas if d.tool_use is not None] == fragments


def test_what_anthropics_own_tools_find_stays_in_an_answer_that_is_no_stream() -> None:
    parts = MessageParts()
    for event in read(recorded.SEARCHED):
        if isinstance(event, ContentBlockStartEvent | ContentBlockDeltaEvent):
            parts.add(event)

    _, found, _ = parts.blocks()

    assert found.text is None
    assert found.tool_result is not None
    assert found.tool_result.tool_use_id == "srvtoolu_01"
    assert found.tool_result.status == "success"
    assert b"web_search_result" in bytes(found.tool_result.content[0].json)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            {"type": "web_fetch_result"},
            ToolResultBlockDelta(json=Raw(b'{"type": "web_fetch_result"}')),
        ),
        ("sunny", ToolResultBlockDelta(text="sunny")),
    ],
)
def test_what_a_tool_finds_need_not_be_a_list(content: Any, found: ToolResultBlockDelta) -> None:
    block = {"type": "web_fetch_tool_result", "tool_use_id": "s", "content": content}

    started, told, *_ = read(recorded.start(), recorded.block(0, block), recorded.stop("end_turn"))[
        1:
    ]

    assert isinstance(started, ContentBlockStartEvent)
    assert started.start.tool_result is not None
    assert started.start.tool_result.status == "success"
    assert told == delta(0, tool_result=[found])


def test_what_servers_write_as_null_is_empty() -> None:
    use = {"type": "tool_use", "id": "a", "name": "t", "text": None, "input": None}

    events = read(recorded.start(), recorded.block(0, use), recorded.stop("tool_use"))

    assert events[1] == begun(0, "a", "t")
