"""The reference: the least that an ASGI application can do to give the same answer."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

BODY = Path(os.environ["ANSWER"]).read_bytes()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"x-amzn-requestid", b"5b3c1e1e-0c57-4f9a-8b52-3f8a2a5c1d11"),
]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        for _ in range(2):
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
