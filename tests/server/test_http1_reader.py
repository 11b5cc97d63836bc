"""HTTP/1.1 requests out of bytes: at any chunking, and out of rubbish."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as some

from outcrop.server.config import LimitsConfig
from outcrop.server.edge import Edge
from outcrop.server.http1_reader import Asked, Http1Reader
from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpRequest, HttpResponse
from tests.server.wire import get, post

CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n"
)
STREAM = get("/a?b=c") + post("/d", b'{"e":1}', "X-F: g", "X-F: h") + CHUNKED + get("/i")


class Silent:
    async def handle(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200, headers={})


def read(pieces: Sequence[bytes], **limits: int) -> tuple[list[Asked], Http1Reader, Edge]:
    asked: list[Asked] = []

    async def main() -> tuple[Http1Reader, Edge]:
        async with asyncio.TaskGroup() as tasks:
            edge = Edge(
                Silent(),
                limits=LimitsConfig(**limits),
                tasks=tasks,
                clock=lambda: datetime(2026, 11, 22, tzinfo=UTC),
            )
            reader = Http1Reader(edge, asked=asked.append, go_on=lambda: None)
            for piece in pieces:
                reader.feed(piece)
            return reader, edge

    return asked, *asyncio.run(main())


def summary(asked: Sequence[Asked]) -> list[tuple[str, str, str, bytes]]:
    requests = [each.request for each in asked]
    assert all(isinstance(request, HttpRequest) for request in requests)
    return [
        (request.method, request.raw_path, request.query_string, request.body)
        for request in requests
        if isinstance(request, HttpRequest)
    ]


WHOLE = [
    ("GET", "/a", "b=c", b""),
    ("POST", "/d", "", b'{"e":1}'),
    ("POST", "/c", "", b"abc0123456789abcdef"),
    ("GET", "/i", "", b""),
]


def test_requests_are_read_at_any_cut() -> None:
    for cut in range(len(STREAM)):
        asked, reader, _ = read([STREAM[:cut], STREAM[cut:]])

        assert summary(asked) == WHOLE
        assert reader.idle


def test_requests_are_read_byte_by_byte() -> None:
    asked, _, edge = read([bytes([byte]) for byte in STREAM])

    assert summary(asked) == WHOLE
    assert edge.buffered_bytes == 0 + len(b'{"e":1}') + len(b"abc0123456789abcdef")


@given(some.binary(max_size=200), some.integers(0, 200))
def test_rubbish_is_refused_once_and_then_ignored(rubbish: bytes, cut: int) -> None:
    asked, _, _ = read([rubbish[:cut], rubbish[cut:], b"\r\n\r\n"])

    refusals = [each for each in asked if isinstance(each.request, AwsError)]
    assert len(refusals) <= 1
    assert all(refusal is asked[-1] for refusal in refusals)


@given(some.data())
def test_a_damaged_request_never_breaks_the_reader(data: some.DataObject) -> None:
    damaged = bytearray(STREAM)
    for _ in range(data.draw(some.integers(1, 4))):
        damaged[data.draw(some.integers(0, len(damaged) - 1))] = data.draw(some.integers(0, 255))

    asked, _, _ = read([bytes(damaged)])

    assert all(each.request for each in asked)


def names(asked: Sequence[Asked]) -> list[str]:
    return [type(each.request).__name__ for each in asked]


@pytest.mark.parametrize(
    ("request_bytes", "limits", "refusal"),
    [
        (get("/" + "a" * 2_000), {"max_uri_bytes": 1_024}, "RequestUriTooLongException"),
        (
            post("/", b"", "X-A: " + "a" * 2_000),
            {"max_header_bytes": 1_024},
            "RequestHeaderFieldsTooLargeException",
        ),
        (post("/", bytes(11)), {"max_body_bytes": 10}, "RequestEntityTooLargeException"),
        (CHUNKED, {"max_body_bytes": 10}, "RequestEntityTooLargeException"),
        (CHUNKED, {"max_buffered_bytes": 2}, "ServiceUnavailableException"),
    ],
)
def test_what_is_too_large_is_refused_and_nothing_after_it_is_read(
    request_bytes: bytes, limits: dict[str, int], refusal: str
) -> None:
    for pieces in ([request_bytes + get("/after")], [*_bytes(request_bytes), get("/after")]):
        asked, reader, edge = read(pieces, **limits)

        assert names(asked) == [refusal]
        assert reader.arriving == "nothing"
        assert edge.buffered_bytes == 0


def _bytes(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def test_a_head_that_never_ends_is_refused_after_a_while() -> None:
    pieces = [b"GET / HTTP/1.1\r\nX-A: ", *[b"a" * 1_000] * 200]

    asked, reader, _ = read(pieces)

    assert names(asked) == ["RequestHeaderFieldsTooLargeException"]
    assert reader.arriving == "nothing"


def test_a_client_that_waits_for_leave_is_told_to_go_on_unless_refused() -> None:
    told: list[str] = []

    def feed(limits: LimitsConfig, tell: Callable[[], None]) -> None:
        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                edge = Edge(Silent(), limits=limits, tasks=tasks, clock=lambda: datetime.now(UTC))
                reader = Http1Reader(edge, asked=lambda asked: None, go_on=tell)
                head = post("/", bytes(20), "Expect: 100-continue").partition(b"\r\n\r\n")[0]
                reader.feed(head + b"\r\n\r\n")

        asyncio.run(main())

    feed(LimitsConfig(), lambda: told.append("go on"))
    feed(LimitsConfig(max_body_bytes=10), lambda: told.append("never"))

    assert told == ["go on"]


def test_what_follows_a_body_is_no_header_of_the_request() -> None:
    data = CHUNKED.replace(b"Trailer: x", b"Authorization: other\r\nHost: other\r\nX: y")

    asked, reader, _ = read([data])

    (request,) = [each.request for each in asked]
    assert isinstance(request, HttpRequest)
    assert request.headers == {"host": "o", "transfer-encoding": "chunked"}
    assert reader.idle


def test_what_follows_a_body_without_end_is_refused() -> None:
    lines = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 100) for number in range(100))

    asked, reader, edge = read([CHUNKED[:-2], lines, lines], max_header_bytes=4_096)

    (refusal,) = [each.request for each in asked]
    assert isinstance(refusal, AwsError)
    assert refusal.name == "RequestHeaderFieldsTooLargeException"
    assert (reader.arriving, edge.buffered_bytes) == ("nothing", 0)


def test_a_packed_body_is_refused() -> None:
    asked, _, _ = read([CHUNKED.replace(b": chunked", b": gzip, chunked")])

    assert isinstance(asked[0].request, AwsError)
