"""Every way a model server can fail, on cue, and the error that Bedrock's users know it by."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import ModelServerConfig
from outcrop.fleet.member import model_server, set_up
from outcrop.fleet.pool import Candidate
from outcrop.runtime.converse import Converse
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import ContentBlockDeltaEvent
from tests.fakes.certificates import Certificates
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
    delta,
    sse,
    url_that_refuses,
    usage,
)
from tests.runtime.requests import converse_request, invocation, stream_request
from tests.runtime.served import MODEL_ID, converse_over

ANSWER = sse(delta(""), delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(9, 2))
BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
IMPATIENT = {"connect_s": 1, "first_byte_s": 0.05, "between_chunks_s": 0.05, "total_s": 0.1}
HTML = {"content-type": "text/html"}
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

UNAVAILABLE = ("ServiceUnavailableException", 503)
TIMED_OUT = ("ModelTimeoutException", 408)
FAILED = ("ModelErrorException", 424)
THROTTLED = ("ThrottlingException", 429)
REFUSED = ("ValidationException", 400)
BROKEN_STREAM = ("ModelStreamErrorException", 424)


def config(url: str, **members: Any) -> ModelServerConfig:
    settings = {
        "name": "gpu",
        "url": url,
        "models": {MODEL_ID: "nova"},
        "timeouts": IMPATIENT,
        **members,
    }
    return msgspec.convert(settings, ModelServerConfig)


@asynccontextmanager
async def converse_with(
    *configs: ModelServerConfig, dialect: str = "openai", queue_deadline_s: float = 30
) -> AsyncGenerator[Converse]:
    servers = [model_server(set_up(config, {})) for config in configs]
    candidates = [
        Candidate(server=server, dialect=dialect, served_as="m", region=None) for server in servers
    ]
    async with converse_over(servers, candidates, queue_deadline_s=queue_deadline_s) as converse:
        yield converse


async def text_of(converse: Converse) -> str:
    message = (await converse.converse(invocation(), converse_request())).output.message
    assert message is not None
    return "".join(block.text or "" for block in message.content)


def refused_with(error: AwsError) -> tuple[str, int]:
    return error.name, error.status


def failure(script: Script) -> tuple[str, int]:
    """What Converse answers."""

    async def main() -> None:
        async with (
            FakeModelServer(script) as fake,
            converse_with(config(fake.url)) as converse,
        ):
            await text_of(converse)

    with pytest.raises(AwsError) as caught:
        asyncio.run(main())
    return refused_with(caught.value)


def stream_failure(script: Script) -> tuple[str, tuple[str, int]]:
    """The text that went out, and what the stream ended with."""

    async def main() -> tuple[str, tuple[str, int]]:
        text = ""
        async with (
            FakeModelServer(script) as fake,
            converse_with(config(fake.url)) as converse,
        ):
            try:
                events = await converse.converse_stream(invocation(), stream_request())
                async for event in events:
                    if isinstance(event, ContentBlockDeltaEvent):
                        text += event.delta.text or ""
            except AwsError as error:
                return text, refused_with(error)
        raise AssertionError("it ended well")

    return asyncio.run(main())


BEFORE_THE_FIRST_EVENT: Sequence[tuple[Script, tuple[str, int]]] = [
    (StallsBeforeTheFirstByte(), TIMED_OUT),
    (StallsAfter([]), TIMED_OUT),
    (Trickles(b": still here\n", pause_s=0.01), TIMED_OUT),
    (BreaksOffAfter([]), UNAVAILABLE),
    (Answers([]), UNAVAILABLE),
    (Says(b""), UNAVAILABLE),
    (Says(b"SSH-2.0-OpenSSH_9\r\n"), UNAVAILABLE),
    (Says(b"HTTP/1.1 101 No\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), UNAVAILABLE),
    (AnswersStatus(200, b"<html>", HTML), UNAVAILABLE),
    (AnswersStatus(200, b"\x1f\x8b", {"content-encoding": "gzip"}), UNAVAILABLE),
    (AnswersStatus(302, b"", {"location": "http://127.0.0.1:1/"}), FAILED),
    (AnswersStatus(400, b'{"error":{"message":"no"}}'), REFUSED),
    (AnswersStatus(401), FAILED),
    (AnswersStatus(404), FAILED),
    (AnswersStatus(429, b"{}", {"retry-after": "7"}), THROTTLED),
    (AnswersStatus(500), FAILED),
    (AnswersStatus(502, b"<html>", HTML), FAILED),
    (AnswersStatus(503, b"{}", {"retry-after": "7"}), UNAVAILABLE),
    (AnswersStatus(504), TIMED_OUT),
    (Answers([b"data: rubbish\n\n"]), FAILED),
]


@pytest.mark.parametrize(("script", "expected"), BEFORE_THE_FIRST_EVENT, ids=repr)
def test_before_the_first_event_a_failure_is_an_ordinary_error(
    script: Script, expected: tuple[str, int]
) -> None:
    assert failure(script) == expected
    assert stream_failure(script) == ("", expected)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (StallsAfter([BEGUN]), BROKEN_STREAM),
        (BreaksOffAfter([BEGUN]), BROKEN_STREAM),
        (Answers([BEGUN]), BROKEN_STREAM),
        (Answers([BEGUN, b"data: rubbish\n\n"]), BROKEN_STREAM),
        (Says(HEAD + b"%x\r\n" % len(BEGUN) + BEGUN + b"\r\nzz\r\n"), BROKEN_STREAM),
        (Answers([BEGUN, sse({"error": {"code": 429}})]), THROTTLED),
    ],
    ids=repr,
)
def test_after_the_first_event_a_failure_ends_the_stream(
    script: Script, expected: tuple[str, int]
) -> None:
    assert stream_failure(script) == ("Hel", expected)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (StallsAfter([BEGUN]), TIMED_OUT),
        (BreaksOffAfter([BEGUN]), UNAVAILABLE),
        (Answers([BEGUN]), FAILED),
        (Answers([BEGUN + b"data: rubbish\n\n"]), FAILED),
        (Answers([BEGUN, sse({"error": {"code": 500}})]), FAILED),
        (Answers([BEGUN, sse({"error": {"code": 429}})]), THROTTLED),
        (Answers([BEGUN, sse({"error": {"code": 400}})]), REFUSED),
    ],
    ids=repr,
)
def test_of_an_answer_in_one_piece_nothing_has_gone_out_and_a_failure_is_an_ordinary_error(
    script: Script, expected: tuple[str, int]
) -> None:
    """Neither Converse nor InvokeModel has the exception that ends a stream."""
    assert failure(script) == expected


def test_an_answer_that_goes_on_and_on_is_ended() -> None:
    text, error = stream_failure(Trickles(BEGUN, pause_s=0.01))

    assert (text[:6], error) == ("HelHel", BROKEN_STREAM)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    name, _ = failure(Pours(b"data: " + b"x" * 1_000_000))

    assert name in {"ModelErrorException", "ModelTimeoutException"}


def test_a_huge_chunk_is_read() -> None:
    filler = b": " + b"." * 5_000_000 + b"\n\n"

    async def main() -> str:
        patient = {**IMPATIENT, "first_byte_s": 5, "total_s": 10}
        async with (
            FakeModelServer(Answers([filler + ANSWER])) as fake,
            converse_with(config(fake.url, timeouts=patient)) as converse,
        ):
            return await text_of(converse)

    assert asyncio.run(main()) == "Hello"


def test_nobody_listening_is_a_service_that_is_not_available() -> None:
    async def main() -> None:
        async with converse_with(config(url_that_refuses())) as converse:
            await text_of(converse)

    with pytest.raises(AwsError) as caught:
        asyncio.run(main())

    assert refused_with(caught.value) == UNAVAILABLE


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return Certificates(Path(tmp_path_factory.mktemp("certificates"))).server()


def test_a_server_that_cannot_be_believed_is_not_told_anything(
    certificate: ssl.SSLContext,
) -> None:
    async def main() -> int:
        async with (
            FakeModelServer(Answers([ANSWER]), tls=certificate) as fake,
            converse_with(config(fake.url)) as converse,
        ):
            with pytest.raises(AwsError) as caught:
                await text_of(converse)
            assert refused_with(caught.value) == UNAVAILABLE
            return len(fake.requests)

    assert asyncio.run(main()) == 0


def test_a_server_without_room_is_one_with_too_many_connections() -> None:
    async def main() -> AwsError:
        async with (
            FakeModelServer(StallsAfter([BEGUN])) as fake,
            converse_with(config(fake.url, max_concurrency=1), queue_deadline_s=0.05) as converse,
        ):
            events = await converse.converse_stream(invocation(), stream_request())
            with pytest.raises(AwsError) as caught:
                await text_of(converse)
            await events.aclose()
            return caught.value

    error = asyncio.run(main())

    assert refused_with(error) == UNAVAILABLE
    assert error.message == "Too many connections, please wait before trying again."


FAILS_WITHOUT_AN_EVENT: Sequence[Script] = [
    script for script, expected in BEFORE_THE_FIRST_EVENT if expected != REFUSED
]


@pytest.mark.parametrize("script", FAILS_WITHOUT_AN_EVENT, ids=repr)
def test_another_server_answers_in_place_of_one_that_fails_before_its_first_event(
    script: Script,
) -> None:
    async def main() -> str:
        async with (
            FakeModelServer(script) as broken,
            FakeModelServer(Answers([ANSWER])) as sound,
            converse_with(
                config(broken.url, name="broken", weight=10), config(sound.url, name="sound")
            ) as converse,
        ):
            return await text_of(converse)

    assert asyncio.run(main()) == "Hello"


def busy(status: int, seconds: str) -> AnswersStatus:
    return AnswersStatus(status, b"{}", {"retry-after": seconds})


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize(("status", "expected"), [(429, THROTTLED), (503, UNAVAILABLE)])
def test_a_caller_hears_when_a_busy_server_wants_to_be_asked_again(
    status: int, expected: tuple[str, int], dialect: str
) -> None:
    async def main() -> AwsError:
        async with (
            FakeModelServer(busy(status, "60")) as first,
            FakeModelServer(busy(status, "7")) as last,
            converse_with(
                config(first.url, name="first", weight=10),
                config(last.url, name="last"),
                dialect=dialect,
            ) as converse,
        ):
            with pytest.raises(AwsError) as caught:
                await text_of(converse)
            assert (len(first.requests), len(last.requests)) == (1, 1), "the other was tried"
            return caught.value

    error = asyncio.run(main())

    assert refused_with(error) == expected
    assert error.retry_after_s == 7


def test_a_server_that_failed_otherwise_names_no_time() -> None:
    async def main() -> AwsError:
        async with (
            FakeModelServer(busy(500, "7")) as fake,
            converse_with(config(fake.url)) as converse,
        ):
            with pytest.raises(AwsError) as caught:
                await text_of(converse)
            return caught.value

    assert asyncio.run(main()).retry_after_s is None
