from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.dialects.dialect import ComplaintError
from outcrop.runtime.dialects.sse import EventReader

STREAM = (
    b": a comment\n"
    b"data: one\n\n"
    b"event: x\r\nid: 7\r\ndata:two\r\n\r\n"
    b"data: three\ndata: lines\n\n"
    b"\n"
    b"data: \xc3\xa9\xf0\x9f\x8e\x89\n\n"
    b"data: [DONE]"
)
PAYLOADS = [b"one", b"two", b"three\nlines", "é🎉".encode(), b"[DONE]"]


def read(chunks: list[bytes]) -> list[bytes]:
    reader = EventReader()
    return [payload for chunk in chunks for payload in reader.feed(chunk)] + [*reader.end()]


def test_payloads_come_out_at_any_cut() -> None:
    for cut in range(len(STREAM) + 1):
        assert read([STREAM[:cut], STREAM[cut:]]) == PAYLOADS


def test_payloads_come_out_byte_by_byte() -> None:
    assert read([STREAM[i : i + 1] for i in range(len(STREAM))]) == PAYLOADS


# What an event may look like, and what is read of it.
_EVENTS = st.sampled_from(
    [
        (b"data: one\n\n", [b"one"]),
        (b"data:two\n\n", [b"two"]),
        (b"data:  a space of its own\n\n", [b" a space of its own"]),
        (b"data: three\ndata: lines\n\n", [b"three\nlines"]),
        (b"data: with\r\n\r\n", [b"with"]),
        (b"data: \n\n", [b""]),
        (b": nothing\n\n", []),
        (b"\n", []),
        (b"id: 7\ndata: named\n\n", [b"named"]),
    ]
)


@given(st.lists(_EVENTS, max_size=8), st.lists(st.integers(0, 200), max_size=4))
def test_events_are_the_same_however_they_are_mixed_and_cut(
    events: list[tuple[bytes, list[bytes]]], cuts: list[int]
) -> None:
    stream = b"".join(text for text, _ in events)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    payloads = read([stream[low:high] for low, high in pairwise(places)])

    assert payloads == [payload for _, told in events for payload in told]


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(ComplaintError, match="an endless line"):
        read([b"x" * 1024 * 1024] * 9)


def test_lines_of_an_event_without_end_are_refused() -> None:
    with pytest.raises(ComplaintError, match="an endless line"):
        read([b"data: " + b"x" * 1024 * 1024 + b"\n"] * 9)


def test_many_events_are_no_endless_one() -> None:
    assert len(read([b"data: " + b"x" * 1024 * 1024 + b"\n\n"] * 20)) == 20
