"""A pass-through of parts that everybody has, and no line of Outcrop's: Granian and aiohttp.

An RSGI application: ASGI, by the same Granian, answers a sixth less. `MODEL_SERVER` is asked.
"""

import asyncio
import os
from typing import Any

from aiohttp import ClientSession, TCPConnector

MODEL_SERVER = os.environ["MODEL_SERVER"]
SENT = {"content-type": "application/json"}


class PassThrough:
    """The request's body to the model server, the bytes of its answer back."""

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._client = loop.run_until_complete(_client())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_until_complete(self._client.close())

    async def __rsgi__(self, _scope: Any, protocol: Any) -> None:
        async with self._client.post(MODEL_SERVER, data=await protocol(), headers=SENT) as answer:
            body = await answer.read()
        headers = [("content-type", answer.headers["content-type"])]
        protocol.response_bytes(answer.status, headers, body)


async def _client() -> ClientSession:
    """It wants to be made where a loop runs."""
    return ClientSession(connector=TCPConnector(limit=0))


app = PassThrough()
