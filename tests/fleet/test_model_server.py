import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import Call, ModelServer
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Pours,
    Says,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    Trickles,
    url_that_refuses,
)
from tests.fleet.asking import unchanged

CALL = Call("/chat/completions", b'{"stream":true}')
IMPATIENT = TimeoutsConfig(connect_s=0.5, first_byte_s=0.05, between_chunks_s=0.05, total_s=0.2)


async def read(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@asynccontextmanager
async def model_server(
    url: str, timeouts: TimeoutsConfig = IMPATIENT, *, api_key: str | None = None
) -> AsyncGenerator[ModelServer]:
    server = ModelServer("gpu", Address.parse(url), api_key=api_key, timeouts=timeouts)
    try:
        yield server
    finally:
        await server.aclose()


async def ask(url: str, timeouts: TimeoutsConfig = IMPATIENT) -> bytes:
    async with model_server(url, timeouts) as server, server.open(CALL) as chunks:
        return await read(chunks)


def ask_fake(script: Script) -> bytes:
    async def main() -> bytes:
        async with FakeModelServer(script) as fake:
            return await ask(fake.url)

    return asyncio.run(main())


def test_an_answer_arrives_whole_and_in_order() -> None:
    assert ask_fake(Answers([b"one ", b"two ", b"three"])) == b"one two three"


def test_a_call_carries_path_body_type_and_key() -> None:
    async def main() -> FakeModelServer:
        async with FakeModelServer(Answers([b"x"])) as fake:
            async with (
                model_server(fake.url, api_key="k") as server,
                server.open(CALL) as chunks,
            ):
                await read(chunks)
            return fake

    (request,) = asyncio.run(main()).requests

    assert request.path == "/v1/chat/completions"
    assert request.body == CALL.body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer k"


def test_one_connection_serves_many_calls() -> None:
    async def main() -> int:
        async with (
            FakeModelServer(Answers([b"x"])) as fake,
            model_server(fake.url) as server,
        ):
            for _ in range(5):
                async with server.open(CALL) as chunks:
                    await read(chunks)
            return fake.connections

    assert asyncio.run(main()) == 1


def test_a_closed_port_is_a_refusal() -> None:
    with pytest.raises(ServerFailureError) as caught:
        asyncio.run(ask(url_that_refuses()))

    assert caught.value.kind is FailureKind.REFUSED


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (StallsBeforeTheFirstByte(), FailureKind.TIMED_OUT),
        (StallsAfter([]), FailureKind.TIMED_OUT),
        (StallsAfter([b"one"]), FailureKind.TIMED_OUT),
        (BreaksOffAfter([]), FailureKind.BROKE_OFF),
        (BreaksOffAfter([b"one"]), FailureKind.BROKE_OFF),
        (Answers([]), FailureKind.BROKE_OFF),
        (AnswersStatus(500, b"no"), FailureKind.STATUS),
        (AnswersStatus(302, b"", {"location": "http://127.0.0.1:1/"}), FailureKind.STATUS),
        (AnswersStatus(429, b"{}", {"retry-after": "7"}), FailureKind.STATUS),
        (AnswersStatus(200, b"<html>", {"content-type": "text/html"}), FailureKind.BROKE_OFF),
        (AnswersStatus(200, b"...", {"content-encoding": "gzip"}), FailureKind.BROKE_OFF),
        (Trickles(b": \n", pause_s=0.01), FailureKind.TIMED_OUT),
        (Says(b"SSH-2.0-OpenSSH_9\r\n"), FailureKind.BROKE_OFF),
        (Says(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nhalf"), FailureKind.STATUS),
    ],
    ids=repr,
)
def test_every_way_to_fail_has_its_name(script: Script, kind: FailureKind) -> None:
    with pytest.raises(ServerFailureError) as caught:
        ask_fake(script)

    assert caught.value.kind is kind


def test_a_refused_request_keeps_status_and_body() -> None:
    with pytest.raises(ServerFailureError) as caught:
        ask_fake(AnswersStatus(400, b'{"error":{"message":"no"}}'))

    assert (caught.value.status, caught.value.body) == (400, b'{"error":{"message":"no"}}')


def test_leaving_early_hangs_up_on_the_server() -> None:
    async def main() -> None:
        async with (
            FakeModelServer(StallsAfter([b"one"])) as fake,
            model_server(fake.url, TimeoutsConfig()) as server,
        ):
            async with server.open(CALL) as chunks:
                assert await anext(chunks) == b"one"
            async with asyncio.timeout(1):
                await fake.left.wait()

    asyncio.run(main())


@pytest.mark.parametrize("script", [StallsBeforeTheFirstByte(), StallsAfter([b"one"])], ids=repr)
def test_cancelling_hangs_up_on_the_server(script: Script) -> None:
    async def main() -> None:
        async with FakeModelServer(script) as fake:
            asking = asyncio.create_task(ask(fake.url, TimeoutsConfig()))
            await fake.asked.wait()
            asking.cancel()
            async with asyncio.timeout(1):
                await fake.left.wait()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        (
            {
                "retry-after": "Sun, 22 Nov 2026 12:00:30 GMT",
                "date": "Sun, 22 Nov 2026 12:00:00 GMT",
            },
            30,
        ),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone_is_kept(
    headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(ServerFailureError) as caught:
        ask_fake(AnswersStatus(503, b"", headers))

    assert caught.value.retry_after_s == seconds


def test_headers_of_the_server_and_of_the_call_go_out_together() -> None:
    async def main() -> dict[str, str]:
        async with FakeModelServer(Answers([b"x"])) as fake:
            server = ModelServer(
                "gpu",
                Address.parse(fake.url),
                headers={"X-Team": "search", "anthropic-version": "1"},
                timeouts=IMPATIENT,
            )
            await server.ask(Call("/messages", b"{}", {"anthropic-version": "2"}))
            await server.aclose()
            return fake.requests[0].headers

    headers = asyncio.run(main())

    assert (headers["x-team"], headers["anthropic-version"]) == ("search", "2")


def test_a_whole_answer_is_read_in_one_piece_and_not_without_end() -> None:
    async def main() -> bytes:
        async with (
            FakeModelServer(Answers([b"one ", b"two"])) as fake,
            model_server(fake.url) as server,
        ):
            return await server.ask(CALL)

    async def endless() -> None:
        async with (
            FakeModelServer(Pours(bytes(1 << 20))) as fake,
            model_server(fake.url, TimeoutsConfig()) as server,
        ):
            await server.ask(CALL)

    assert asyncio.run(main()) == b"one two"
    with pytest.raises(ServerFailureError, match="an endless answer"):
        asyncio.run(endless())


def test_a_flood_waits_for_who_reads_it() -> None:
    async def main() -> int:
        async with (
            FakeModelServer(Pours(bytes(1 << 16))) as fake,
            model_server(fake.url, TimeoutsConfig()) as server,
            server.open(CALL) as chunks,
        ):
            await anext(chunks)
            await unchanged(lambda: fake.sent_bytes)
            return fake.sent_bytes

    # The kernel's buffers of both ends, and our own of 64 kB.
    assert asyncio.run(main()) < 16 * 1024 * 1024
