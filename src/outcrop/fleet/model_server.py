"""Connections to one model server, and the one place where its failures get their names."""

import ssl
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from email.utils import parsedate_to_datetime
from typing import Protocol, Self

from msgspec import Struct

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address, Answer, CannotConnectError, HttpClient, Patience
from outcrop.fleet.http_connection import BrokenAnswerError
from outcrop.fleet.server_state import ServerState

# An error body tells a person what is wrong; more than this is not read.
_ERROR_BODY_BYTES = 64 * 1024
# The largest answer that is read as a whole: 2,000 embeddings of 1,500 numbers fit.
_ANSWER_BYTES = 64 * 1024 * 1024
# What answers of models come as, and servers that say nothing of it. A page for people is not one.
_ANSWER_TYPES = ("application/", "text/event-stream", "text/plain")


class Call(Struct, frozen=True):
    """What is asked of a model server: always a POST, always answered as a stream."""

    path: str
    body: bytes
    headers: Mapping[str, str] = {}
    """In lower case; on top of those that every call of the server has."""


class Calling(Protocol):
    """What any call shows: dialects have a record of their own."""

    @property
    def path(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Answering(Protocol):
    """Anything that answers calls: a server somewhere, or the embedded one."""

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> ServerState:
        """What its answers have shown of it."""
        ...

    def open(self, call: Calling) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Entering succeeds when the first byte of a successful answer is here."""
        ...


class ModelServer:
    def __init__(  # noqa: PLR0913 - what an operator may say of a server, each by its name
        self,
        name: str,
        address: Address,
        *,
        timeouts: TimeoutsConfig,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        max_concurrency: int | None = None,
        weight: float = 1.0,
    ) -> None:
        self._name = name
        self.state = ServerState(
            name,
            most=max_concurrency,
            weight=weight,
            patience_s=timeouts.first_byte_s,
            address=address,
        )
        self._client = HttpClient(
            address,
            headers=_headers(api_key, headers or {}),
            patience=_patience(timeouts),
            tls=tls,
        )

    @property
    def name(self) -> str:
        return self._name

    def open(self, call: Calling) -> "_Exchange":
        return _Exchange(self._name, self._client, call)

    async def ask(self, call: Calling) -> bytes:
        """The whole answer, for what is not streamed."""
        async with self.open(call) as chunks:
            return await whole(self._name, chunks)

    async def get(self, path: str) -> bytes:
        """What the server says of itself; no model is asked, and nobody waits for it."""
        with as_server_failures(self._name), closing(await self._client.get(path)) as answer:
            if answer.status != 200:
                raise await _refusal(self._name, answer)
            _check_kind(self._name, answer)
            return await whole(self._name, answer)

    async def aclose(self) -> None:
        """Calls in progress come to their end."""
        await self._client.aclose()


class _Exchange:
    """One call. Entered, it is an answer of which the first chunk is here."""

    def __init__(self, server: str, client: HttpClient, call: Calling) -> None:
        self._server = server
        self._client = client
        self._call = call
        self._first: bytes | None = None

    async def __aenter__(self) -> Self:
        call = self._call
        try:
            self._answer = await self._client.send(call.path, call.body, call.headers)
            try:
                self._first = await self._first_chunk(self._answer)
            except BaseException:
                self._answer.close()
                raise
        except _HTTP_FAILURES as error:
            raise _named(self._server, error) from error
        return self

    async def _first_chunk(self, answer: Answer) -> bytes:
        if answer.status != 200:
            raise await _refusal(self._server, answer)
        _check_kind(self._server, answer)
        first = await answer.next_chunk()
        if first is None:
            raise ServerFailureError(self._server, FailureKind.BROKE_OFF, "an empty answer")
        return first

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            chunk = await self._answer.next_chunk()
        except _HTTP_FAILURES as error:
            raise _named(self._server, error) from error
        if chunk is None:
            raise StopAsyncIteration
        return chunk


def _check_kind(server: str, answer: Answer) -> None:
    """Raises ServerFailureError unless it is a model's answer."""
    kind = answer.header("content-type").lower()
    if kind and not kind.startswith(_ANSWER_TYPES):
        detail = f"not a model's answer: its content type is {kind[:80]}"
        raise ServerFailureError(server, FailureKind.BROKE_OFF, detail)


async def whole(server: str, chunks: AsyncIterator[bytes]) -> bytes:
    """All of an answer that is no stream."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _ANSWER_BYTES:
            raise ServerFailureError(server, FailureKind.BROKE_OFF, "an endless answer")
    return bytes(body)


@contextmanager
def as_server_failures(server: str) -> Generator[None]:
    """The HTTP client's exceptions end here; the rest of the program knows one."""
    try:
        yield
    except _HTTP_FAILURES as error:
        raise _named(server, error) from error


_HTTP_FAILURES = (CannotConnectError, TimeoutError, BrokenAnswerError)


def _named(server: str, error: Exception) -> ServerFailureError:
    if isinstance(error, CannotConnectError):
        return ServerFailureError(server, FailureKind.REFUSED, str(error))
    if isinstance(error, TimeoutError):
        return ServerFailureError(server, FailureKind.TIMED_OUT, str(error))
    return ServerFailureError(server, FailureKind.BROKE_OFF, str(error))


async def _refusal(server: str, answer: Answer) -> ServerFailureError:
    return ServerFailureError(
        server,
        FailureKind.STATUS,
        status=answer.status,
        body=await _error_body(answer),
        retry_after_s=_retry_after_s(answer),
    )


async def _error_body(answer: Answer) -> bytes:
    """As much of it as comes: the status alone says that the call failed."""
    body = b""
    try:
        async for chunk in answer:
            body += chunk
            if len(body) >= _ERROR_BODY_BYTES:
                break
    except (BrokenAnswerError, TimeoutError):
        pass
    return body[:_ERROR_BODY_BYTES]


def _retry_after_s(answer: Answer) -> float | None:
    """`Retry-After` in seconds; a date counts from the answer's own."""
    value = answer.header("retry-after")
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    try:
        moment, now = map(parsedate_to_datetime, (value, answer.header("date")))
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _headers(api_key: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    own = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
    key = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    return {**own, **key, **{name.lower(): value for name, value in headers.items()}}


def _patience(timeouts: TimeoutsConfig) -> Patience:
    return Patience(
        connect_s=timeouts.connect_s,
        first_byte_s=timeouts.first_byte_s,
        between_chunks_s=timeouts.between_chunks_s,
        total_s=timeouts.total_s,
    )
