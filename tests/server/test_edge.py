"""The edge on real sockets: bytes no client library sends, limits, and clients that leave."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from hashlib import sha256

import msgspec
import pytest

from tests.outcrop_process import OutcropProcess
from tests.server.fake_server import Echo
from tests.server.serving import fake_server, told, told_eventually
from tests.server.wire import GET, Answer, ask, get, post, wire

LIMITS = """
[limits]
max_body_bytes = 1_000_000
max_buffered_bytes = 2_500_000
receive_header_timeout_s = 0.5
receive_body_timeout_s = 0.5
send_timeout_s = 0.5
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    with fake_server(tmp_path_factory.mktemp("edge"), config=LIMITS) as process:
        yield process


def echo(answer: Answer) -> Echo:
    return msgspec.json.decode(answer.body, type=Echo)


def refused_as(answer: Answer) -> str:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-requestid"]
    assert msgspec.json.decode(answer.body)["message"]
    return answer.headers["x-amzn-errortype"].partition(":")[0]


def test_path_and_query_arrive_as_they_were_sent(server: OutcropProcess) -> None:
    path = "/model/arn%3Aaws%3Abedrock%2Fa:b%2fc//d/../e"

    seen = echo(ask(server.port, get(path + "?b=%41&&a=+&c")))

    assert (seen.raw_path, seen.query_string) == (path, "b=%41&&a=+&c")


def test_header_names_are_lower_case_and_repeated_headers_are_joined(
    server: OutcropProcess,
) -> None:
    request = GET.replace(b"\r\n\r\n", b"\r\nX-A: 1\r\nx-B:  two \r\nX-A: 3\r\n\r\n")

    headers = echo(ask(server.port, request)).headers

    assert headers == {"host": "outcrop", "x-a": "1,3", "x-b": "two"}


def test_header_bytes_beyond_ascii_arrive_as_latin_1(server: OutcropProcess) -> None:
    request = GET.replace(b"\r\n\r\n", b"\r\nx-a: caf\xc3\xa9\r\n\r\n")

    assert echo(ask(server.port, request)).headers["x-a"] == "cafÃ©"


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE"])
def test_any_method_reaches_the_app(server: OutcropProcess, method: str) -> None:
    answer = ask(server.port, GET.replace(b"GET", method.encode()))

    assert answer.status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n",
    ],
    ids=["none", "two"],
)
def test_one_host_header_is_required(server: OutcropProcess, head: bytes) -> None:
    answer = ask(server.port, head)

    assert answer.status == 400
    assert answer.headers["x-amzn-errortype"].startswith("MalformedHttpRequestException:")


def test_every_answer_has_a_date_and_says_who_wrote_it(server: OutcropProcess) -> None:
    headers = ask(server.port, GET).headers

    assert headers["date"].endswith(" GMT")
    assert headers["server"] == "outcrop"


def test_a_connection_carries_one_request_after_another(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        for number in range(3):
            connection.send(get(f"/{number}"))
            assert echo(connection.answer()).raw_path == f"/{number}"


def test_pipelined_requests_are_answered_in_their_order(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        connection.send(post("/0", b"one") + get("/1") + post("/2", b"three") + get("/3"))

        paths = [echo(connection.answer()).raw_path for _ in range(4)]

    assert paths == ["/0", "/1", "/2", "/3"]


def test_a_request_may_arrive_in_any_two_pieces(server: OutcropProcess) -> None:
    request = post("/inference-profiles", b'{"a":1}', "X-Test: 1")
    with wire(server.port) as connection:
        for cut in range(1, len(request)):
            connection.send(request[:cut])
            connection.send(request[cut:])

            assert echo(connection.answer()).body_bytes == 7


def test_a_body_of_megabytes_arrives_whole(server: OutcropProcess) -> None:
    body = bytes(range(250)) * 4_000

    seen = echo(ask(server.port, post("/", body)))

    assert (seen.body_bytes, seen.body_sha256) == (1_000_000, sha256(body).hexdigest())


def test_a_chunked_body_arrives_whole(server: OutcropProcess) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in (1, 20, 300))
    head = b"POST / HTTP/1.1\r\nHost: outcrop\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert echo(ask(server.port, head + chunks + b"0\r\n\r\n")).body_bytes == 321


def test_a_client_that_waits_for_100_continue_gets_it(server: OutcropProcess) -> None:
    head, _, body = post("/", b"{}", "Expect: 100-continue").partition(b"\r\n\r\n")
    with wire(server.port) as connection:
        connection.send(head + b"\r\n\r\n")
        interim = connection.answer()
        connection.send(body)

        assert (interim.status, echo(connection.answer()).body_bytes) == (100, 2)


def test_a_body_that_says_it_is_too_large_is_refused_unread(server: OutcropProcess) -> None:
    head = post("/", bytes(1_000_001), "Expect: 100-continue").partition(b"\r\n\r\n")[0]

    answer = ask(server.port, head + b"\r\n\r\n")

    assert (answer.status, refused_as(answer)) == (413, "RequestEntityTooLargeException")


def test_a_client_may_finish_sending_a_refused_body(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        connection.send(post("/", bytes(8_000_000)))

        assert connection.answer().status == 413
        assert connection.read_to_end() == b""


def test_a_chunked_body_is_refused_once_it_is_too_large(server: OutcropProcess) -> None:
    head = b"POST / HTTP/1.1\r\nHost: outcrop\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = ask(server.port, head + (b"%x\r\n" % 1_100_000) + bytes(1_100_000) + b"\r\n0\r\n\r\n")

    assert (answer.status, refused_as(answer)) == (413, "RequestEntityTooLargeException")


def test_a_body_that_does_not_arrive_in_time_is_refused(server: OutcropProcess) -> None:
    answer = ask(server.port, post("/", bytes(100))[:-1])

    assert (answer.status, refused_as(answer)) == (408, "RequestTimeoutException")


def test_headers_too_large_are_refused(server: OutcropProcess) -> None:
    request = GET.replace(b"\r\n\r\n", b"\r\nx-a: " + b"a" * 65_536 + b"\r\n\r\n")

    answer = ask(server.port, request)

    assert (answer.status, refused_as(answer)) == (431, "RequestHeaderFieldsTooLargeException")


def test_a_header_without_end_is_refused(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        with suppress(ConnectionError):  # it may refuse before all is sent
            connection.send(GET.replace(b"\r\n\r\n", b"\r\nx-a: " + b"a" * 1_000_000))
        assert connection.answer().status == 431


def test_an_offer_to_upgrade_is_ignored(server: OutcropProcess) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")

    for request in (post("/", b"abc", *offer), post("/", b"", *offer)):
        seen = echo(ask(server.port, request))

        assert (seen.method, seen.body_bytes) == ("POST", 3 if b"abc" in request else 0)
        assert seen.headers["upgrade"] == "h2c"


def test_a_chunked_body_after_an_offer_to_upgrade_arrives(server: OutcropProcess) -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: o\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with wire(server.port) as connection:
        for piece in (head, b"3\r\nab", b"c\r\n0\r", b"\n\r\n"):
            connection.send(piece)

        assert echo(connection.answer()).body_bytes == 3


def test_head_is_answered_without_a_body(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        connection.send(
            GET.replace(b"GET", b"HEAD") + GET.replace(b"Host", b"Connection: close\r\nHost")
        )
        head, _, rest = connection.read_to_end().partition(b"\r\n\r\n")

    assert b"content-length: " in head
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/", "/few"])
def test_http_1_0_gets_an_answer_that_ends_with_its_connection(
    server: OutcropProcess, path: str
) -> None:
    with wire(server.port) as connection:
        connection.send(f"GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        head, _, body = connection.read_to_end().partition(b"\r\n\r\n")

    assert b"connection: close" in head
    assert b"chunked" not in head
    assert body.endswith(b"chunk 2\n" if path == "/few" else b"}")


def test_a_request_meant_for_a_proxy_is_answered(server: OutcropProcess) -> None:
    seen = echo(ask(server.port, get("http://outcrop:1/a%2Fb?c=%20")))

    assert (seen.raw_path, seen.query_string) == ("/a%2Fb", "c=%20")


def test_a_uri_too_long_is_refused(server: OutcropProcess) -> None:
    answer = ask(server.port, get("/" + "a" * 16_384))

    assert (answer.status, refused_as(answer)) == (414, "RequestUriTooLongException")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: o\r\n\r\n",
        b"CONNECT o:1 HTTP/1.1\r\nHost: o\r\n\r\n",
        b"GET / HTTP/1.1\nHost: o\n\n",
        b"POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost outcrop\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: o\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /\xff\x00 HTTP/1.1\r\nHost: o\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_400_and_an_end(server: OutcropProcess, garbage: bytes) -> None:
    with wire(server.port) as connection:
        connection.send(garbage)

        answer = connection.answer()

        assert (answer.status, refused_as(answer)) == (400, "MalformedHttpRequestException")
        assert connection.read_to_end() == b""


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"PRI * HTTP/2.0\r\n", b"GET / HT", GET[:-2]])
def test_a_request_that_does_not_arrive_ends_its_connection(
    server: OutcropProcess, beginning: bytes
) -> None:
    with wire(server.port) as connection:
        connection.send(beginning)

        assert connection.seconds_until_end() < 2.5


def test_an_app_that_breaks_is_an_internal_error(server: OutcropProcess) -> None:
    answer = ask(server.port, get("/fail"))

    assert (answer.status, refused_as(answer)) == (500, "InternalServerException")


def test_a_stream_arrives_in_its_chunks_and_is_closed(server: OutcropProcess) -> None:
    answer = ask(server.port, get("/few"))

    assert answer.body == b"chunk 0\nchunk 1\nchunk 2\n"
    assert told(server)[-1] == "closed"


def test_a_stream_that_breaks_does_not_look_finished(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        connection.send(get("/broken"))

        assert not connection.read_to_end().endswith(b"0\r\n\r\n")
    assert told(server)[-1] == "closed"


def test_a_client_that_leaves_a_stream_closes_it(server: OutcropProcess) -> None:
    before = told(server)
    with wire(server.port) as connection:
        connection.send(get("/beats"))
        connection.read_some()

    assert told_eventually(server, [*before, "closed"], within_s=0.2)


@pytest.mark.slow
def test_a_client_that_leaves_before_a_slow_answer_cancels_it(server: OutcropProcess) -> None:
    before = told(server)
    with wire(server.port) as connection:
        connection.send(post("/slow", b"{}"))
        assert told_eventually(server, [*before, "started"], within_s=0.2)

    assert told_eventually(server, [*before, "started", "cancelled"], within_s=1)


@pytest.mark.slow
def test_a_slow_answer_reaches_a_client_that_stays(server: OutcropProcess) -> None:
    with wire(server.port) as connection:
        connection.send(post("/slow?0.8", b"{}") + GET)

        assert connection.answer().body == b'"at last"'
        assert connection.answer().status == 200


@pytest.mark.slow
def test_a_client_that_does_not_read_its_stream_is_cut_off(server: OutcropProcess) -> None:
    before = told(server)
    with wire(server.port) as connection:
        connection.send(get("/flood"))

        assert told_eventually(server, [*before, "closed"], within_s=3)
        assert not connection.read_to_end().endswith(b"0\r\n\r\n")


@pytest.mark.slow
def test_large_bodies_at_once_are_bounded(server: OutcropProcess) -> None:
    before = told(server)
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(wire(server.port)) for _ in range(3))
        first.send(post("/slow?0.6", bytes(900_000)))
        second.send(post("/slow?0.6", bytes(900_000)))
        assert told_eventually(server, [*before, "started", "started"], within_s=0.5)
        third.send(post("/", bytes(900_000)))

        refusal = third.answer()

        assert (refusal.status, refused_as(refusal)) == (503, "ServiceUnavailableException")
        assert (first.answer().status, second.answer().status) == (200, 200)
    assert ask(server.port, post("/", bytes(900_000))).status == 200


def test_the_port_is_reused_at_once_by_clients_that_reset(server: OutcropProcess) -> None:
    for _ in range(20):
        with wire(server.port) as connection:
            connection.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
            connection.send(GET)

    assert ask(server.port, GET).status == 200
