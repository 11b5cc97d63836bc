import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from outcrop.fleet.http_client import Address, CannotConnectError, HttpClient, Patience
from outcrop.fleet.http_connection import BrokenAnswerError
from tests.fleet.asking import unchanged

pytestmark = pytest.mark.usefixtures("either_loop")

PATIENCE = Patience(connect_s=1, first_byte_s=0.2, between_chunks_s=0.2)
Speech = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Serving:
    """A server on a real socket that speaks so to everyone who connects."""

    def __init__(self, speech: Speech, unix_socket: str | None = None) -> None:
        self._speech = speech
        self._unix_socket = unix_socket
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> Self:
        if self._unix_socket is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._unix_socket)
            self.address = Address(unix_socket=self._unix_socket)
            return self
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        host, port = self._server.sockets[0].getsockname()
        self.address = Address(host=host, port=port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._speech(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()


async def ask(client: HttpClient) -> list[bytes]:
    with closing(await client.send("/x", b"{}")) as answer:
        return [str(answer.status).encode(), b"".join([chunk async for chunk in answer])]


def new_client(address: Address) -> HttpClient:
    return HttpClient(address, headers={}, patience=PATIENCE)


def hear(speech: Speech) -> list[bytes]:
    async def main() -> list[bytes]:
        async with Serving(speech) as server:
            client = new_client(server.address)
            try:
                return await ask(client)
            finally:
                await client.aclose()

    return asyncio.run(main())


def speech(*pieces: bytes) -> Speech:
    """Reads a request, then writes `pieces`, each in a segment of its own, and closes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return speak


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"
)
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, UNTIL_CLOSE, INTERIM + LENGTH])
def test_every_framing_is_read_whole_byte_by_byte(answer: bytes) -> None:
    assert hear(speech(*(answer[i : i + 1] for i in range(len(answer))))) == [b"200", b"hello"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        INTERIM,
        INTERIM * 2_000,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_rubbish_and_half_an_answer_are_broken_answers(answer: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        hear(speech(answer))


def test_a_head_that_never_comes_runs_out_of_patience() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(TimeoutError):
        hear(silent)


def test_no_head_is_waited_for_longer_than_for_the_whole_answer() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        patience = Patience(connect_s=1, first_byte_s=60, between_chunks_s=60, total_s=0.1)
        async with Serving(silent) as server, asyncio.timeout(5) as far:
            with pytest.raises(TimeoutError):
                await ask(HttpClient(server.address, headers={}, patience=patience))
        assert not far.expired()

    asyncio.run(main())


def test_nobody_listening_is_told_apart() -> None:
    async def main() -> None:
        await new_client(Address(host="127.0.0.1", port=1)).send("/x", b"")

    with pytest.raises(CannotConnectError):
        asyncio.run(main())


def test_an_encoding_that_changes_nothing_is_read() -> None:
    answer = LENGTH.replace(b"OK\r\n", b"OK\r\nContent-Encoding: Identity\r\n")

    assert hear(speech(answer)) == [b"200", b"hello"]


async def twice(speech: Speech) -> tuple[list[bytes], int]:
    """What two requests by one client hear, and how many connections they took."""
    async with Serving(speech) as server:
        client = new_client(server.address)
        bodies = [(await ask(client))[1] for _ in range(2)]
        await client.aclose()
        return bodies, server.connections


def test_a_server_that_closed_an_idle_connection_is_asked_again() -> None:
    assert asyncio.run(twice(speech(LENGTH))) == ([b"hello", b"hello"], 2)


def test_a_connection_that_was_idle_for_long_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outcrop.fleet.http_client._IDLE_S", -1.0)

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"{}")
            writer.write(LENGTH)

    assert asyncio.run(twice(answers)) == ([b"hello", b"hello"], 2)


def test_a_connection_is_not_kept_when_the_server_says_close() -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await reader.read()

    assert asyncio.run(twice(closes)) == ([b"hello", b"hello"], 2)


def test_what_follows_an_answer_unasked_does_not_become_the_next_one() -> None:
    async def chatters(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(LENGTH + LENGTH.replace(b"hello", b"wrong"))
        await reader.read()

    bodies, connections = asyncio.run(twice(chatters))

    assert (bodies, connections) == ([b"hello", b"hello"], 2)


def test_a_farewell_to_an_idle_connection_is_not_the_next_answer() -> None:
    """Some servers say 408 when they close; it may cross a request on its way."""
    farewell = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    first = True

    async def says_farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        await reader.readuntil(b"{}")
        writer.write(LENGTH)
        if first:
            first = False
            await reader.readuntil(b"{}")
            writer.write(farewell)
        await reader.read()

    assert asyncio.run(twice(says_farewell)) == ([b"hello", b"hello"], 2)


def test_an_answer_before_the_whole_request_was_read_ends_the_connection() -> None:
    """What is left of the request would be read as the next one's beginning."""

    async def answers_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async def main() -> tuple[list[int], int]:
        async with Serving(answers_early) as server:
            client = new_client(server.address)
            statuses: list[int] = []
            for _ in range(2):
                with closing(await client.send("/x", bytes(32_000_000))) as answer:
                    statuses.append(answer.status)
            await client.aclose()
            return statuses, server.connections

    assert asyncio.run(main()) == ([413, 413], 2)


def test_a_server_that_half_closes_after_its_answer_is_asked_over_a_new_connection() -> None:
    async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(LENGTH)
        writer.write_eof()
        await reader.read()

    assert asyncio.run(twice(half_closes)) == ([b"hello", b"hello"], 2)


def test_a_server_that_half_closes_before_its_answer_has_none() -> None:
    async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write_eof()
        await reader.read()

    with pytest.raises(BrokenAnswerError):
        hear(half_closes)


def test_connections_of_a_closed_client_are_closed_after_their_last_answer() -> None:
    async def main() -> tuple[bytes, bytes]:
        left = asyncio.get_running_loop().create_future()

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            writer.write(LENGTH)
            left.set_result(await reader.read())

        async with Serving(answers) as server:
            client = new_client(server.address)
            with closing(await client.send("/x", b"{}")) as answer:
                await client.aclose()
                heard = b"".join([chunk async for chunk in answer])
            async with asyncio.timeout(0.1):
                return heard, await left

    assert asyncio.run(main()) == (b"hello", b"")


def test_an_answer_that_goes_on_and_on_comes_to_its_end() -> None:
    wanted = asyncio.Semaphore()

    async def trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while await wanted.acquire():
            writer.write(b".")
            await writer.drain()

    async def main() -> int:
        heard = 0
        patience = Patience(connect_s=1, first_byte_s=1, between_chunks_s=1, total_s=0.1)
        async with Serving(trickles) as server:
            client = HttpClient(server.address, headers={}, patience=patience)
            with closing(await client.send("/x", b"{}")) as answer:
                try:
                    async for _ in answer:
                        heard += 1
                        wanted.release()
                except TimeoutError:
                    return heard
        raise AssertionError("it ended well")

    assert asyncio.run(main()) > 1


def test_what_a_reader_takes_its_time_over_is_no_silence_of_the_server() -> None:
    async def main() -> list[bytes]:
        patience = Patience(connect_s=1, first_byte_s=0.05, between_chunks_s=0.05)
        async with Serving(speech(CHUNKED)) as server:
            client = HttpClient(server.address, headers={}, patience=patience)
            with closing(await client.send("/x", b"{}")) as answer:
                await asyncio.sleep(0.1)
                return [chunk async for chunk in answer]

    assert b"".join(asyncio.run(main())) == b"hello"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/x y", {}),
        ("/x\r\nx: y", {}),
        ("/\u00e4", {}),
        ("/x", {"a": "b\r\nc: d"}),
        ("/x", {"a\nb": "c"}),
    ],
)
def test_what_would_break_the_request_is_not_sent(path: str, headers: dict[str, str]) -> None:
    async def main() -> None:
        await new_client(Address(host="127.0.0.1", port=1)).send(path, b"", headers)

    with pytest.raises(ValueError, match=r"no path of a request|would break its line"):
        asyncio.run(main())


@pytest.mark.parametrize("moment", ["before its answer", "in its answer"])
def test_a_cancelled_request_is_gone_from_the_server_at_once(moment: str) -> None:
    async def main() -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            if moment == "in its answer":
                writer.write(CHUNKED[:60])
            asked.set()
            await reader.read()
            left.set()

        patience = Patience(connect_s=9, first_byte_s=9, between_chunks_s=9)
        async with Serving(stalls) as server, asyncio.TaskGroup() as tasks:
            client = HttpClient(server.address, headers={}, patience=patience)
            asking = tasks.create_task(ask(client))
            await asked.wait()
            asking.cancel()
            async with asyncio.timeout(0.1):
                await left.wait()

    asyncio.run(main())


def test_a_slow_reader_makes_the_server_wait() -> None:
    async def main() -> int:
        sent = 0

        async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"{}")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()

        async with Serving(pours) as server:
            client = new_client(server.address)
            with closing(await client.send("/x", b"{}")) as answer:
                await anext(answer)
                await unchanged(lambda: sent)
        return sent

    # Bounded by what the kernel's buffers of both ends take.
    assert asyncio.run(main()) < 32 * 1024 * 1024


def test_a_unix_socket_is_an_address_too(tmp_path: Path) -> None:
    async def main() -> bytes:
        async with Serving(speech(LENGTH), str(tmp_path / "s")) as server:
            return (await ask(new_client(server.address)))[1]

    assert asyncio.run(main()) == b"hello"


def test_a_server_without_tls_is_no_connection_for_https() -> None:
    async def speaks_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LENGTH)
        await writer.drain()

    async def main() -> None:
        async with Serving(speaks_first) as server:
            address = Address(host=server.address.host, port=server.address.port, tls=True)
            await ask(new_client(address))

    with pytest.raises(CannotConnectError):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://gpu:8000/v1", Address(host="gpu", port=8000, base_path="/v1"), "gpu:8000"),
        ("http://gpu", Address(host="gpu", port=80), "gpu"),
        ("https://gpu/v1/", Address(host="gpu", port=443, tls=True, base_path="/v1"), "gpu"),
        ("http://[::1]:80", Address(host="::1", port=80), "[::1]"),
    ],
)
def test_urls_become_addresses(url: str, address: Address, authority: str) -> None:
    assert Address.parse(url) == address
    assert Address.parse(url).authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "ftp://gpu",
        "gpu:8000",
        "http://",
        "/v1",
        "http://me:secret@gpu/v1",
        "http://gpu/v1?version=1",
        "http://gpu/v 1",
        "http://g\u00fc/v1",
        "http://me:secret@/v1",
        "http://me:secret@exa\u2100mple.com/v1",
        "http://a..b/v1",
        f"http://{'a' * 64}.com/v1",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL") as caught:
        Address.parse(url)

    assert "secret" not in str(caught.value)
