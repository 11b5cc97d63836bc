"""The real edge, worker and supervisor around an App of a few paths: what the edge tests talk to.

`python -m tests.server.fake_server` takes the arguments of `outcrop serve`.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import msgspec

from outcrop.server import cli
from outcrop.server.config import Config
from outcrop.server.tls import ListenerTls
from outcrop.wire.http import Body, HttpRequest, HttpResponse

FLOOD = bytes(8_000_000)


class Echo(msgspec.Struct):
    """What the App was given."""

    method: str
    raw_path: str
    query_string: str
    headers: dict[str, str]
    body_bytes: int
    body_sha256: str
    source_address: str


class Beats:
    """A stream that never ends by itself: ten chunks a second."""

    def __init__(self, told: list[str], chunk: bytes, *, fail: bool = False) -> None:
        self._told = told
        self._chunk = chunk
        self._fail = fail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self._chunk
            if self._fail:
                raise RuntimeError("the stream broke")
            await asyncio.sleep(0.1)

    async def aclose(self) -> None:
        self._told.append("closed")


class Few:
    def __init__(self, told: list[str]) -> None:
        self._told = told

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"chunk %d\n" % number
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        self._told.append("closed")


class FakeApp:
    def __init__(self) -> None:
        self._told: list[str] = []

    async def handle(self, request: HttpRequest) -> HttpResponse:
        body = self._stream(request.raw_path)
        if body:
            headers = {
                "content-type": "application/vnd.amazon.eventstream",
                "x-amzn-RequestId": "1",
            }
            return HttpResponse(status=200, headers=headers, body=body)
        if request.raw_path == "/slow":
            return await self._slow(float(request.query_string or 3_600))
        if request.raw_path == "/large":
            return _json("x" * 3_000_000)
        if request.raw_path == "/fail":
            raise RuntimeError("the App broke")
        return _json(self._told if request.raw_path == "/told" else _echo(request))

    def _stream(self, path: str) -> Body | None:
        streams: dict[str, Body] = {
            "/few": Few(self._told),
            "/beats": Beats(self._told, b"beat\n"),
            "/flood": Beats(self._told, FLOOD),
            "/broken": Beats(self._told, b"beat\n", fail=True),
        }
        return streams.get(path)

    async def _slow(self, seconds: float) -> HttpResponse:
        self._told.append("started")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._told.append("cancelled")
            raise
        return _json("at last")


def _echo(request: HttpRequest) -> Echo:
    return Echo(
        request.method,
        request.raw_path,
        request.query_string,
        request.headers,
        len(request.body),
        sha256(request.body).hexdigest(),
        request.source_address,
    )


def _json(value: object) -> HttpResponse:
    headers = {"content-type": "application/json", "x-amzn-RequestId": "1"}
    return HttpResponse(status=200, headers=headers, body=msgspec.json.encode(value))


class NewerSchemaError(Exception):
    __module__ = "outcrop.store"


@asynccontextmanager
async def assembled(config: Config, _: ListenerTls) -> AsyncGenerator[FakeApp]:
    if config.region == "xx-refuse-1" or (config.state / "broken").exists():
        raise NewerSchemaError("the database is of a newer Outcrop")
    if config.region == "xx-broken-1":
        raise TypeError("a mistake of ours")
    yield FakeApp()


if __name__ == "__main__":
    sys.exit(cli.main(["serve", *sys.argv[1:]], assemble=assembled))
