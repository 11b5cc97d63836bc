"""TLS at the port: both HTTPs, clients' certificates, slow hands, and how it all ends."""

import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import trustme

from tests.outcrop_process import OutcropProcess
from tests.server.certificate_files import CertificateFiles
from tests.server.fake_server import Echo
from tests.server.http2_wire import http2
from tests.server.serving import fake_server, told, told_eventually
from tests.server.wire import GET, ask, get, post, wire

LIMITS = """
[limits]
receive_header_timeout_s = 0.5
send_timeout_s = 0.5
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return CertificateFiles(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(
    files: CertificateFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OutcropProcess]:
    config = files.config() + LIMITS
    with fake_server(tmp_path_factory.mktemp("edge"), config=config) as process:
        yield process


@pytest.fixture
def tls(files: CertificateFiles) -> ssl.SSLContext:
    return files.client()


def test_http_1_1_is_spoken_over_tls(server: OutcropProcess, tls: ssl.SSLContext) -> None:
    body = bytes(range(250)) * 4_000
    with wire(server.port, tls) as connection:
        for request in (post("/a", body), post("/b", body) + get("/c"), GET):
            connection.send(request)
        answers = [msgspec.json.decode(connection.answer().body, type=Echo) for _ in range(4)]

    assert [seen.raw_path for seen in answers] == ["/a", "/b", "/c", "/inference-profiles"]
    assert answers[0].body_sha256 == sha256(body).hexdigest()
    assert answers[0].source_address == "127.0.0.1"


def test_http_2_is_chosen_by_alpn(server: OutcropProcess, tls: ssl.SSLContext) -> None:
    with http2(server.port, tls) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        assert connection.socket.selected_alpn_protocol() == "h2"
        _, body = connection.answer(connection.ask("/x", bytes(999_999), method="POST"))

    seen = msgspec.json.decode(body, type=Echo)
    assert (seen.body_bytes, seen.source_address) == (999_999, "127.0.0.1")


def test_clients_that_know_no_alpn_speak_http_1_1(
    server: OutcropProcess, tls: ssl.SSLContext
) -> None:
    assert ask(server.port, GET, tls).status == 200


def test_nothing_older_than_tls_1_2_is_spoken(server: OutcropProcess, tls: ssl.SSLContext) -> None:
    tls.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        tls.minimum_version = ssl.TLSVersion.TLSv1
        tls.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(server.port, GET, tls)


def test_who_speaks_no_tls_is_let_go(server: OutcropProcess, tls: ssl.SSLContext) -> None:
    for rubbish in (GET, b"\x16\x03\x01" + bytes(4_000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with wire(server.port) as plain:
            plain.send(rubbish)
            with suppress(ConnectionError):
                assert b"HTTP/1.1" not in plain.read_to_end()

    assert ask(server.port, GET, tls).status == 200


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"])
def test_a_handshake_that_does_not_go_on_is_ended(server: OutcropProcess, beginning: bytes) -> None:
    with wire(server.port) as silent:
        silent.send(beginning)

        assert silent.seconds_until_end() < 2.5


@pytest.mark.slow
def test_a_head_that_does_not_go_on_is_ended(server: OutcropProcess, tls: ssl.SSLContext) -> None:
    for beginning in (b"", b"GET / HT", b"PRI * HTTP/2.0"):
        with wire(server.port, tls) as connection:
            connection.send(beginning)

            assert connection.seconds_until_end() < 2.5


def test_a_client_that_leaves_a_stream_closes_it(
    server: OutcropProcess, tls: ssl.SSLContext
) -> None:
    before = told(server, tls)
    with wire(server.port, tls) as connection:
        connection.send(get("/beats"))
        connection.read_some()

    assert told_eventually(server, [*before, "closed"], within_s=0.5, tls=tls)


@pytest.mark.slow
def test_a_client_that_does_not_read_its_stream_is_cut_off(
    server: OutcropProcess, tls: ssl.SSLContext
) -> None:
    before = told(server, tls)
    with wire(server.port, tls) as connection:
        connection.send(get("/flood"))

        assert told_eventually(server, [*before, "closed"], within_s=3, tls=tls)
        with suppress(ssl.SSLError, ConnectionError):
            assert not connection.read_to_end().endswith(b"0\r\n\r\n")


def test_a_stream_that_breaks_does_not_look_finished(
    server: OutcropProcess, tls: ssl.SSLContext
) -> None:
    seen = b""
    with wire(server.port, tls) as connection:
        connection.send(get("/broken"))
        with suppress(ssl.SSLError, ConnectionError):
            while data := connection.read_some():
                seen += data

    assert b"beat" in seen
    assert not seen.endswith(b"0\r\n\r\n")


@pytest.mark.slow
def test_a_stop_waits_for_no_client_that_is_idle_or_still_greeting(
    files: CertificateFiles, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    with (
        fake_server(tmp_path, config=files.config()) as server,
        wire(server.port, tls) as idle,
        socket.create_connection(("127.0.0.1", server.port)),
    ):
        idle.send(GET)
        idle.answer()
        started = time.monotonic()

        assert server.stop() == 0
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_every_connection_gives_its_room_back(
    files: CertificateFiles, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """With room for one, whatever became of those before it."""
    config = files.config() + LIMITS + "max_connections = 1"
    with fake_server(tmp_path, config=config) as server, ExitStack() as stays:
        for beginning in (b"", b"\x16\x03\x01", GET):
            with socket.create_connection(("127.0.0.1", server.port)) as leaves:
                leaves.sendall(beginning)
        stays.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        http2_begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")
        old = GET.replace(b"/1.1", b"/1.0")
        for request in (b"", b"GET", GET, old, http2_begun[:14], http2_begun):
            silent = stays.enter_context(wire(server.port, tls))
            silent.send(request)
        with suppress(ssl.SSLCertVerificationError):
            ask(server.port, GET, ssl.create_default_context())

        assert ask(server.port, GET, tls).status == 200


@pytest.mark.slow
def test_an_answer_is_whole_for_a_client_that_reads_it_late(
    files: CertificateFiles, tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """The close that follows must not overtake what is written."""
    request = get("/large").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with fake_server(tmp_path, config=files.config()) as server, wire(server.port, tls) as late:
        late.send(request)
        # What answers others meanwhile has gone on from what it wrote to this one.
        for _ in range(5):
            assert ask(server.port, GET, tls).status == 200

        answer = late.answer()

    assert len(answer.body) == int(answer.headers["content-length"])


@pytest.mark.parametrize(
    ("client_auth", "shown", "answered"),
    [
        ("required", "ours", True),
        ("required", "nobody's", False),
        ("required", "a stranger's", False),
        ("optional", "ours", True),
        ("optional", "nobody's", True),
        ("optional", "a stranger's", False),
    ],
)
def test_clients_are_asked_for_a_certificate(
    tmp_path: Path, client_auth: str, shown: str, *, answered: bool
) -> None:
    files = CertificateFiles(tmp_path)
    authorities = {"ours": files.authority, "a stranger's": trustme.CA(), "nobody's": None}
    more = f"client_ca_file = '{files.ca_file}'\nclient_auth = '{client_auth}'"
    with fake_server(tmp_path, config=files.config(more)) as server:
        context = files.client(authorities[shown])
        status = None
        with suppress(ssl.SSLError, ConnectionError):
            status = ask(server.port, GET, context).status

    assert status == (200 if answered else None)
