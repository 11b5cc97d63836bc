"""A model server that sends events at a steady pace on every stream; each says when it was sent.

Reads a `Plan` from stdin, prints its port.
"""

import asyncio
import sys
import time

import msgspec
import uvloop

from benchmarks.streams import Plan

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


class Stream(asyncio.Protocol):
    """One connection: a request, then events until the time is over."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, _data: bytes) -> None:
        # Requests are small and come in one piece; what follows the first is its body.
        if self._left:
            return
        self._left = round(self._plan.events_per_s * self._plan.seconds)
        self._transport.write(HEAD)
        self._due = self._loop.time()
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._transport.write(_chunk(_event()))
        self._left -= 1
        if not self._left:
            self._transport.write(_chunk(LAST) + b"0\r\n\r\n")
            return
        self._due += 1 / self._plan.events_per_s
        self._timer = self._loop.call_at(self._due, self._send)


def _event() -> bytes:
    sent = b"%d" % time.monotonic_ns()
    text = b'{"content":" token @' + sent + b'@"}'
    return (
        b'data: {"id":"x","choices":[{"index":0,"delta":' + text + b',"finish_reason":null}]}\n\n'
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stream(plan), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
