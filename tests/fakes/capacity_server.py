"""A model server of known capacity: so many calls at once, so many tokens a second in each."""

import asyncio
from typing import Self

from tests.fakes.model_server import delta, sse, usage

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"


class CapacityServer:
    """Each call takes `call_s` once it has one of the `slots`, and uses what is said."""

    def __init__(
        self, *, slots: int, call_s: float, input_tokens: int = 500, output_tokens: int = 100
    ) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._call_s = call_s
        self._body = sse(
            delta("so many words"),
            delta(finish_reason="length"),
            usage(input_tokens, output_tokens),
        )
        calls_per_minute = slots * 60 / call_s
        self.input_tokens_per_minute = calls_per_minute * input_tokens
        self.output_tokens_per_minute = calls_per_minute * output_tokens
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1")
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = head.partition("content-length:")[2].partition("\r")[0]
                await reader.readexactly(int(length))
                async with self._slots:
                    await asyncio.sleep(self._call_s)
                writer.write(_HEAD % len(self._body) + self._body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._conversations.discard(task)
