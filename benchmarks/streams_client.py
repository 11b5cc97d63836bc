"""Reads many streams at once and notes when what arrives; prints what it saw.

Reads a `Plan` and what to ask from stdin.
"""

import asyncio
import sys
import time

import msgspec
import uvloop

from benchmarks.streams import Asking, Plan, Seen

SENT = b" token @"
# Every event would be too much to look at for one that must not be the bottleneck.
LOOK_AT_ONE_IN = 50
# How often the reader's own loop is asked whether it keeps up.
TICK_S = 0.01


class Reader(asyncio.Protocol):
    """One stream, read as bytes: frames are counted, not decoded."""

    def __init__(self, request: bytes, event: bytes, ended: asyncio.Event) -> None:
        self._request = request
        self._event = event
        self._ended = ended
        self._status = b""
        self._last_s = 0.0
        self.first_ms = 0.0
        self.gap_ms = 0.0
        self.events = 0
        self.late_ms: list[float] = []

    @property
    def failed(self) -> bool:
        return not self._status.startswith(b"HTTP/1.1 200") or not self.events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass
        self._asked_s = time.monotonic()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._status = self._status or data[:16]
        before = self.events
        self.events += data.count(self._event)
        if self._last_s:
            self.gap_ms = max(self.gap_ms, (now - self._last_s) * 1000)
        if self.events and not before:
            self.first_ms = (now - self._asked_s) * 1000
        self._last_s = now
        if before // LOOK_AT_ONE_IN != self.events // LOOK_AT_ONE_IN:
            self._look(data, now)
        if data.endswith(b"0\r\n\r\n"):
            self._ended.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()

    def _look(self, data: bytes, now: float) -> None:
        sent, at, _ = data.rpartition(SENT)[2].partition(b"@")
        if at and sent.isdigit():
            self.late_ms.append(now * 1000 - int(sent) / 1e6)


class Ticker:
    """How late the reader itself is: what arrives meanwhile is noted that much too late."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self.late_ms: list[float] = []
        self._tick()

    def _tick(self) -> None:
        now = self._loop.time()
        self.late_ms.append((now - self._due) * 1000)
        self._due = now + TICK_S
        self._loop.call_at(self._due, self._tick)


async def read(plan: Plan, asking: Asking) -> Seen:
    loop = asyncio.get_running_loop()
    ended = [asyncio.Event() for _ in range(plan.streams)]
    readers = [Reader(asking.request, asking.event, event) for event in ended]
    ticker = Ticker()
    for reader in readers:
        await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", asking.port)  # type: ignore[misc]  # mypy does not infer a lambda's default
        # Within a second, as clients come; not all in one moment.
        await asyncio.sleep(min(1.0, plan.seconds / 2) / plan.streams)
    try:
        async with asyncio.timeout(plan.seconds * 2 + 5):
            for event in ended:
                await event.wait()
    except TimeoutError:
        pass
    for reader in readers:
        reader.transport.abort()
    return Seen(
        events=sum(reader.events for reader in readers),
        failed=sum(reader.failed for reader in readers),
        first_ms=[reader.first_ms for reader in readers],
        gaps_ms=[reader.gap_ms for reader in readers],
        late_ms=[late for reader in readers for late in reader.late_ms],
        own_late_ms=ticker.late_ms,
    )


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Plan, Asking])
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(read(*asked))))
