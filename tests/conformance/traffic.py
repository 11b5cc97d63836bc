"""A model server that counts its calls, and callers by the hundred: one event loop for all."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import msgspec

from tests.conformance.signing import Signer
from tests.fakes.connections import FakeServer, read_request
from tests.fakes.model_server import delta, sse, usage
from tests.outcrop_process import OutcropProcess

MODEL = "amazon.nova-lite-v1:0"
_BODY = sse(delta("Hello"), delta(finish_reason="stop"), usage(3, 1))
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_LISTING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_GONE = 0


class CountingServer(FakeServer):
    """Says how many calls it is asked at once; each lasts for `call_s`."""

    base = "/v1"

    def __init__(self, call_s: float) -> None:
        super().__init__()
        self.call_s = call_s
        self.at_once = self.most_at_once = self.answered = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            writer.write(await self._answer() if request.method == "POST" else _LISTING)

    async def _answer(self) -> bytes:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.call_s)
        finally:
            self.at_once -= 1
        self.answered += 1
        return _ANSWER


def converse_request(server: OutcropProcess, model_id: str = MODEL) -> bytes:
    signer = Signer(server)
    body = msgspec.json.encode(
        {
            "messages": [{"role": "user", "content": [{"text": "hello"}]}],
            "inferenceConfig": {"maxTokens": 5},
        }
    )
    path = f"/model/{model_id.replace(':', '%3A').replace('/', '%2F')}/converse"
    headers = signer.headers("POST", path, body, headers={"Content-Type": "application/json"})
    headers |= {"Host": signer.host, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


async def ask(url: str, request: bytes) -> int:
    """The answer's status, on a connection of its own; 0 when that broke."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
    except ConnectionError:
        return _GONE
    return int(answer[9:12]) if answer else _GONE


class Callers:
    """So many who ask one thing after the other, until they are told to stop."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.statuses: Counter[int] = Counter()
        self._tasks = tasks
        self._stopped = False
        self._running: list[asyncio.Task[None]] = []

    def start(self, number: int, url: str, request: bytes) -> None:
        self._running += [self._tasks.create_task(self._call(url, request)) for _ in range(number)]

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.wait(self._running)

    async def _call(self, url: str, request: bytes) -> None:
        while not self._stopped:
            status = await ask(url, request)
            self.statuses[status] += 1
            if status != 200:
                await asyncio.sleep(0.02)
