"""Bytes meant to be read in two ways, and floods: HTTP/1.1 and HTTP/2, in the clear and TLS."""

import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from hpack import Encoder

from tests.outcrop_process import OutcropProcess
from tests.server.certificate_files import CertificateFiles
from tests.server.http2_wire import http2
from tests.server.serving import fake_server
from tests.server.smuggling import AMBIGUOUS, AMBIGUOUS_HTTP2, Fields
from tests.server.wire import GET, ask, wire

LIMITS = """
[limits]
receive_header_timeout_s = 1
receive_body_timeout_s = 1
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_OF_STREAM, END_OF_HEADERS = 1, 4


class Door:
    def __init__(self, server: OutcropProcess, files: CertificateFiles | None) -> None:
        self.port = server.port
        self._files = files

    def client(self, *, http2: bool = False) -> ssl.SSLContext | None:
        context = self._files.client() if self._files else None
        if context is not None and http2:
            context.set_alpn_protocols(["h2"])
        return context


@pytest.fixture(scope="module", params=["in the clear", "TLS"])
def door(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    folder: Path = tmp_path_factory.mktemp("edge")
    files = CertificateFiles(folder) if request.param == "TLS" else None
    with fake_server(folder, config=(files.config() if files else "") + LIMITS) as server:
        yield Door(server, files)


@pytest.mark.parametrize("bytes_", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_is_refused_and_nothing_after_it_is_answered(
    door: Door, bytes_: bytes
) -> None:
    with wire(door.port, door.client()) as connection:
        connection.send(bytes_)
        answers = connection.read_to_end()

    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert b"hidden" not in answers


def test_extensions_of_chunks_are_ignored_and_hide_nothing(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n"
    with wire(door.port, door.client()) as connection:
        connection.send(head + b'2;a="\\"3";b\r\nab\r\n0;c\r\n\r\n' + GET)

        assert b'"body_bytes":2' in connection.answer().body
        assert b'"raw_path":"/inference-profiles"' in connection.answer().body


def test_extensions_of_chunks_without_end_are_refused(door: Door) -> None:
    head = b"POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    with wire(door.port, door.client()) as connection:
        with suppress(ConnectionError, ssl.SSLError):
            connection.send(head + b"a" * 1_000_000)
        answers = connection.read_to_end()

    assert answers.startswith(b"HTTP/1.1 4")
    assert answers.count(b"HTTP/1.1 ") == 1


def http2_statuses(door: Door, fields: Fields) -> list[str]:
    """What a request with three bytes of body is answered, when a client checks nothing."""
    protocol = h2.connection.H2Connection(
        h2.config.H2Configuration(
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            header_encoding="utf-8",
        )
    )
    protocol.initiate_connection()
    protocol.send_headers(1, fields)
    protocol.send_data(1, b"abc", end_stream=True)
    statuses: list[str] = []
    with wire(door.port, door.client(http2=True)) as connection:
        connection.send(protocol.data_to_send())
        while data := connection.read_some():
            for event in protocol.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=headers):
                        told = {str(name): str(value) for name, value in headers or ()}
                        statuses.append(told[":status"])
                    case (
                        h2.events.StreamEnded()
                        | h2.events.StreamReset()
                        | h2.events.ConnectionTerminated()
                    ):
                        return statuses
                    case _:
                        pass
    return statuses


@pytest.mark.parametrize("fields", AMBIGUOUS_HTTP2.values(), ids=AMBIGUOUS_HTTP2)
def test_an_ambiguous_http2_request_is_answered_by_nobody(door: Door, fields: Fields) -> None:
    assert http2_statuses(door, fields) in ([], ["400"])


def frame(kind: int, stream: int = 0, payload: bytes = b"", *, flags: int = 0) -> bytes:
    return b"%b%c%c%b%b" % (
        len(payload).to_bytes(3, "big"),
        kind,
        flags,
        stream.to_bytes(4, "big"),
        payload,
    )


HEAD = Encoder().encode(
    [(":method", "GET"), (":path", "/slow"), (":scheme", "https"), (":authority", "o")]
)
OPENED = END_OF_HEADERS | END_OF_STREAM

FLOODS: dict[str, list[bytes]] = {
    "streams reset at once": [
        frame(HEADERS, stream, HEAD, flags=OPENED) + frame(RESET, stream, bytes(3) + b"\x08")
        for stream in range(1, 20_001, 2)
    ],
    "streams": [frame(HEADERS, stream, HEAD, flags=OPENED) for stream in range(1, 10_001, 2)],
    "headers without end": [
        frame(HEADERS, 1, HEAD),
        *[frame(CONTINUATION, 1, b"\x00\x01a\x01b" * 1_000)] * 2_000,
    ],
    "nothing, on and on": [frame(HEADERS, 1, HEAD), *[frame(CONTINUATION, 1)] * 50_000],
    "a few bytes that unpack to megabytes": [
        frame(
            HEADERS,
            1,
            (HEAD + b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4_000 + b"\xbe" * 12_000)[:16_384],
            flags=OPENED,
        )
    ],
    "a frame too large": [frame(DATA, 1, bytes(1_000_000))],
    "settings": [frame(SETTINGS)] * 50_000,
    "pings": [frame(PING, 0, bytes(8))] * 50_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_its_connection_and_no_other(door: Door, flood: Iterable[bytes]) -> None:
    client = door.client(http2=True)
    with wire(door.port, client) as flooding:
        with suppress(ConnectionError, ssl.SSLError):
            flooding.send(PREFACE + frame(SETTINGS) + b"".join(flood))
        with http2(door.port, client) as other:
            assert other.answer(other.ask("/"))[0][":status"] == "200"
        with suppress(ConnectionError, ssl.SSLError):
            while flooding.read_some():
                pass
    assert ask(door.port, GET, door.client()).status == 200
