"""A model server of OpenAI's shape that answers at once: always the same, streamed or whole.

As a program it prints its port and serves until it is ended.
"""

import asyncio
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import uvloop

from tests.outcrop_process import REPOSITORY

WORDS = ("Hello", " there,", " how", " are", " you?")
_MADE: dict[str, Any] = {"id": "chatcmpl-1", "created": 1_790_000_000, "model": "m"}
_USAGE = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}


class Connection(asyncio.Protocol):
    """Requests one after the other, each with a length."""

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _content_length(head):
            return
        asked = bytes(head)
        self._received.clear()
        if asked.startswith(b"GET "):
            self.transport.write(MODELS)
            return
        self.answer(bytes(body))

    def answer(self, body: bytes) -> None:
        wants_stream = b'"stream":true' in body or b'"stream": true' in body
        self.transport.write(STREAMED if wants_stream else WHOLE)


def _content_length(head: bytes | bytearray) -> int:
    _, name, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if name else 0


def _streamed() -> bytes:
    """Every event a chunk of its own, as servers send them; all at once."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in WORDS), {}]
    last = len(deltas) - 1
    events = [
        {
            **_MADE,
            "object": "chat.completion.chunk",
            "choices": [
                {"index": 0, "delta": delta, "finish_reason": "stop" if at == last else None}
            ],
        }
        for at, delta in enumerate(deltas)
    ]
    events.append({**_MADE, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
    lines = [b"data: %b\n\n" % msgspec.json.encode(event) for event in events]
    chunks = [b"%x\r\n%b\r\n" % (len(line), line) for line in (*lines, b"data: [DONE]\n\n")]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    return b"".join((head, b"\r\n", *chunks, b"0\r\n\r\n"))


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    answer = {
        **_MADE,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
    return _json(answer)


def _json(answer: dict[str, Any]) -> bytes:
    body = msgspec.json.encode(answer)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _models() -> bytes:
    """Also to who asks for its health: a gateway that knows no other server finds out so."""
    return _json({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]})


STREAMED, WHOLE, MODELS = _streamed(), _whole(), _models()


@contextmanager
def scripted_server(*, command: Sequence[str] = ()) -> Generator[int]:
    """Its port, while it serves in a process of its own; `command` goes before its own."""
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "benchmarks.scripted_server"],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdout
    try:
        with process.stdout as told:
            yield int(told.readline())
    finally:
        process.terminate()
        process.wait()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
