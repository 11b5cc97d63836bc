"""One request and its answer on an ASGI connection, and whether the client still waits for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

# An answer that takes longer than this is worth watching its client for; a shorter one is not.
PATIENCE_S = 0.5


class ClientGoneError(Exception):
    """The client closed its connection or reset its stream."""


class Exchange:
    __slots__ = (
        "_answering",
        "_receive",
        "_send",
        "_tasks",
        "_timer",
        "_watch",
        "buffered_bytes",
        "client_gone",
        "scope",
        "started",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, tasks: asyncio.TaskGroup
    ) -> None:
        answering = asyncio.current_task()
        assert answering
        self.scope = scope
        self.started = False
        self.client_gone = False
        self.buffered_bytes = 0
        self._answering = answering
        self._receive = receive
        self._send = send
        self._tasks = tasks
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    async def receive_chunk(self) -> tuple[bytes, bool]:
        """A piece of the request's body, and whether more follows."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        return message["body"], message["more_body"]

    async def send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.unwatch()
        await self.send_start(status, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def send_start(self, status: int, headers: Mapping[str, str]) -> None:
        fields = [
            (name.encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        self.started = True

    async def send_chunk(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def send_end(self) -> None:
        # The server reports a finished answer as a departure; that must not cancel what closes it.
        self.unwatch()
        await self._send({"type": "http.response.body", "body": b""})

    def watch(self) -> None:
        """From now on the client's leaving cancels the answer."""
        if self._watch is None:
            self._watch = self._tasks.create_task(self._until_gone())

    def watch_late(self) -> None:
        """The same, if the answer is not there within a moment: most are, and cost nothing then."""
        loop = self._answering.get_loop()
        self._timer = loop.call_later(PATIENCE_S, self.watch)

    def cancel(self) -> asyncio.Task[None]:
        self._answering.cancel()
        return self._answering

    def unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_gone = True
        self._answering.cancel()
