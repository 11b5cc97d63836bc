"""A request that is followed to the servers that are asked for it."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from outcrop.fleet.model_server import Answering, Call, Calling
from outcrop.fleet.server_state import ServerState


class TracedAttempt(Protocol):
    """One server's turn."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The server's calls carry them: `traceparent`, `tracestate`."""
        ...

    def failed(self, error: BaseException) -> None:
        """Nothing happens if it has ended."""
        ...

    def ended(self) -> None: ...


class Trace(Protocol):
    def attempt(self, server: Answering, served_as: str) -> TracedAttempt: ...


class TracedServer:
    """A server as one attempt sees it."""

    def __init__(self, server: Answering, headers: Mapping[str, str]) -> None:
        self._server = server
        self._headers = headers

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def state(self) -> ServerState:
        return self._server.state

    @asynccontextmanager
    async def open(self, call: Calling) -> AsyncGenerator[AsyncIterator[bytes]]:
        traced = Call(call.path, call.body, {**call.headers, **self._headers})
        async with self._server.open(traced) as chunks:
            yield chunks
