"""Connections to one model server, and the one place where its failures get their names."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Protocol, Self

from msgspec import Struct

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import (
    Address,
    Answer,
    BrokenAnswerError,
    CannotConnectError,
    HttpClient,
    Patience,
)

# An error body tells a person what is wrong; more than this is not read.
_ERROR_BODY_BYTES = 64 * 1024


class Call(Struct, frozen=True):
    """What is asked of a model server: always a POST, always answered as a stream."""

    path: str
    body: bytes


class Answering(Protocol):
    """Anything that answers calls: a server somewhere, or the embedded one."""

    @property
    def name(self) -> str: ...

    def open(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Entering succeeds when the first byte of a successful answer is here."""
        ...


class ModelServer:
    def __init__(
        self, name: str, address: Address, *, api_key: str | None = None, timeouts: TimeoutsConfig
    ) -> None:
        self._name = name
        self._client = HttpClient(address, headers=_headers(api_key), patience=_patience(timeouts))

    @property
    def name(self) -> str:
        return self._name

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as held:
            with as_server_failures(self._name):
                answer = await held.enter_async_context(self._client.post(call.path, call.body))
                if answer.status != 200:
                    raise await _refusal(self._name, answer)
                chunks = await _Chunks.opened(self._name, answer)
            yield chunks

    async def aclose(self) -> None:
        await self._client.aclose()


class _Chunks:
    """An answer of which the first chunk is here."""

    def __init__(self, server: str, first: bytes, rest: Answer) -> None:
        self._server = server
        self._first: bytes | None = first
        self._rest = rest

    @classmethod
    async def opened(cls, server: str, answer: Answer) -> Self:
        async for first in answer:
            return cls(server, first, answer)
        raise ServerFailureError(server, FailureKind.BROKE_OFF, "an empty answer")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        with as_server_failures(self._server):
            return await anext(self._rest)


@contextmanager
def as_server_failures(server: str) -> Generator[None]:
    """The HTTP client's exceptions end here; the rest of the program knows one."""
    try:
        yield
    except CannotConnectError as error:
        raise ServerFailureError(server, FailureKind.REFUSED, str(error)) from error
    except TimeoutError as error:
        raise ServerFailureError(server, FailureKind.TIMED_OUT) from error
    except BrokenAnswerError as error:
        raise ServerFailureError(server, FailureKind.BROKE_OFF, str(error)) from error


async def _refusal(server: str, answer: Answer) -> ServerFailureError:
    body = await answer.read(_ERROR_BODY_BYTES)
    return ServerFailureError(server, FailureKind.STATUS, status=answer.status, body=body)


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    return headers if api_key is None else {**headers, "authorization": f"Bearer {api_key}"}


def _patience(timeouts: TimeoutsConfig) -> Patience:
    return Patience(
        connect_s=timeouts.connect_s,
        first_byte_s=timeouts.first_byte_s,
        between_chunks_s=timeouts.between_chunks_s,
    )
