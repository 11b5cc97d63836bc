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
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    url_that_refuses,
)

CALL = Call("/chat/completions", b'{"stream":true}')
IMPATIENT = TimeoutsConfig(connect_s=0.5, first_byte_s=0.05, between_chunks_s=0.05)


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
