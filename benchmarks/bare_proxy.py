"""The reference for the runtime: the same edge and HTTP client, and nothing in between.

As a program: `python -m benchmarks.bare_proxy MODEL_SERVER_PORT`; prints its own port.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from urllib.parse import urlsplit

from outcrop.fleet.http_client import Address, HttpClient, Patience
from outcrop.server import supervisor
from outcrop.server.config import Config
from outcrop.server.tls import ListenerTls
from outcrop.wire.http import HttpRequest, HttpResponse

PATIENCE = Patience(connect_s=5, first_byte_s=60, between_chunks_s=60)
SENT = {"content-type": "application/json"}


class PassThrough:
    """The request's body to the model server, the bytes of its answer back."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def handle(self, request: HttpRequest) -> HttpResponse:
        with closing(await self._client.send("/chat/completions", request.body)) as answer:
            body = b"".join([chunk async for chunk in answer])
            headers = {"content-type": answer.header("content-type")}
            return HttpResponse(status=answer.status, headers=headers, body=body)


def main() -> None:
    address = Address.parse(f"http://127.0.0.1:{int(sys.argv[1])}/v1")

    @asynccontextmanager
    async def assembled(_config: Config, _tls: ListenerTls) -> AsyncGenerator[PassThrough]:
        client = HttpClient(address, headers=SENT, patience=PATIENCE)
        yield PassThrough(client)
        await client.aclose()

    config = Config(listen="127.0.0.1:0", log_level="error")
    supervisor.serve(
        config, reread=lambda: config, assemble=assembled, keep_books=None, announce=_tell_port
    )


def _tell_port(url: str) -> None:
    print(urlsplit(url).port, flush=True)


if __name__ == "__main__":
    main()
