"""HTTP/2 with prior knowledge, on the same port: as the AWS SDK for JavaScript speaks it."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from outcrop.server.http2_exchange import _declared
from outcrop.wire.errors import MalformedHttpRequestException
from tests.outcrop_process import OutcropProcess
from tests.server.fake_server import Echo
from tests.server.http2_wire import http2
from tests.server.serving import fake_server, told, told_eventually

LIMITS = """
[limits]
max_body_bytes = 1_000_000
receive_header_timeout_s = 0.5
receive_body_timeout_s = 0.5
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    with fake_server(tmp_path_factory.mktemp("edge"), config=LIMITS) as process:
        yield process


def test_the_authority_arrives_as_host(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        _, body = connection.answer(connection.ask("/model/a%3Ab/x?q=%20"))

    seen = msgspec.json.decode(body, type=Echo)
    assert (seen.raw_path, seen.query_string) == ("/model/a%3Ab/x", "q=%20")
    assert seen.headers == {"host": "outcrop:1"}


def test_answers_carry_date_and_request_id_and_who_wrote_them(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        headers, _ = connection.answer(connection.ask("/"))

    assert {":status", "date", "x-amzn-requestid"} <= headers.keys()
    assert headers["server"] == "outcrop"


def test_a_body_of_megabytes_arrives_whole_and_needs_no_length(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        _, body = connection.answer(connection.ask("/", bytes(999_999), method="POST"))

    assert msgspec.json.decode(body, type=Echo).body_bytes == 999_999


def test_head_is_answered_without_a_body(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        headers, body = connection.answer(connection.ask("/", method="HEAD"))

    assert (headers[":status"], body) == ("200", b"")


def test_two_content_lengths_are_no_number() -> None:
    with pytest.raises(MalformedHttpRequestException):
        _declared("2,2")


@pytest.mark.parametrize("length", [{}, {"content_length": "1500000"}])
def test_a_body_too_large_is_refused(server: OutcropProcess, length: dict[str, str]) -> None:
    with http2(server.port) as connection:
        headers, _ = connection.answer(
            connection.ask("/", bytes(1_500_000), method="POST", **length)
        )

    assert headers[":status"] == "413"
    assert headers["x-amzn-errortype"].startswith("RequestEntityTooLargeException:")


def test_headers_too_large_are_refused(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        connection.ask("/")
        connection.answer(1)
        headers, _ = connection.answer(connection.ask("/", x_a="a" * 66_000))

    assert headers[":status"] == "431"
    assert headers["x-amzn-errortype"].startswith("RequestHeaderFieldsTooLargeException:")


def test_streams_of_one_connection_are_answered_at_the_same_time(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        endless = connection.ask("/beats")
        connection.first_of(endless)

        headers, _ = connection.answer(connection.ask("/few"))

        assert headers[":status"] == "200"
        assert endless not in connection.ended


def test_a_stream_goes_on_after_the_client_says_goaway(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        stream = connection.ask("/beats")
        beats = len(connection.first_of(stream))
        connection.socket.sendall(bytes.fromhex("000008 07 00 00000000 00000000 00000000"))

        while len(connection.bodies[stream]) < beats + 10:
            assert connection.receive()


def test_a_reset_stream_is_closed(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        stream = connection.ask("/beats")
        connection.first_of(stream)
        before = told(server)
        connection.protocol.reset_stream(stream, error_code=8)
        connection.flush()

        assert told_eventually(server, [*before, "closed"], within_s=0.4)


@pytest.mark.slow
def test_a_client_that_answers_nothing_any_more_is_let_go(server: OutcropProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as silent:
        silent.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000"))
        while silent.recv(1_000):
            pass


@pytest.mark.slow
def test_an_idle_client_that_is_there_is_kept(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        connection.socket.settimeout(0.1)
        connection.answer(connection.ask("/"))
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                assert connection.receive()


@pytest.mark.slow
def test_a_client_that_is_there_and_asks_nothing_is_let_go_at_last(tmp_path: Path) -> None:
    config = "[limits]\nhttp2_idle_timeout_s = 1.5\nreceive_header_timeout_s = 0.2\n"
    with fake_server(tmp_path, config=config) as server, http2(server.port) as connection:
        connection.answer(connection.ask("/"))
        while connection.receive():
            pass  # pings, which it answers


@pytest.mark.slow
def test_a_client_that_reads_an_answer_is_not_idle(tmp_path: Path) -> None:
    config = "[limits]\nhttp2_idle_timeout_s = 1.5\n"
    with fake_server(tmp_path, config=config) as server, http2(server.port) as connection:
        stream = connection.ask("/beats")
        beat = len(connection.first_of(stream))
        while len(connection.bodies[stream]) < 25 * beat:
            assert connection.receive()


def test_a_lost_connection_closes_all_its_streams(server: OutcropProcess) -> None:
    with http2(server.port) as connection:
        for stream in (connection.ask("/beats"), connection.ask("/beats")):
            connection.first_of(stream)
        before = told(server)

    assert told_eventually(server, [*before, "closed", "closed"], within_s=0.4)
