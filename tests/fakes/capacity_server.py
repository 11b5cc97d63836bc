"""A model server of known capacity: so many calls at once, so many tokens a second in each."""

import asyncio

from tests.fakes.connections import FakeServer, read_request
from tests.fakes.model_server import delta, sse, usage

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"


class CapacityServer(FakeServer):
    """Each call takes `call_s` once it has one of the `slots`, and uses what is said."""

    base = "/v1"

    def __init__(
        self, *, slots: int, call_s: float, input_tokens: int = 500, output_tokens: int = 100
    ) -> None:
        super().__init__()
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

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            async with self._slots:
                await asyncio.sleep(self._call_s)
            writer.write(_HEAD % len(self._body) + self._body)
            await writer.drain()
