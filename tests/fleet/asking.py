"""Asks the servers of pools as the runtime does, and waits for them to come to rest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

from outcrop.fleet.model_server import Call, whole
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Attempt, Request, Router

CALL = Call("/chat/completions", b"{}")


def pool(*candidates: Candidate) -> Sequence[Pool]:
    return (Pool.of(candidates, "us-east-1"),)


async def opened(attempt: Attempt) -> tuple[Attempt, AsyncIterator[bytes]]:
    """An answer that has begun; the attempt is for the test to close."""
    chunks = await attempt.open(CALL)
    attempt.answered()
    return attempt, chunks


async def whole_answer(attempt: Attempt) -> tuple[str, bytes]:
    """Who answered, and all of it."""
    async with aclosing(attempt):
        server = attempt.candidate.server
        async with server.open(CALL) as chunks:
            body = await whole(server.name, chunks)
        attempt.answered()
        return server.name, body


async def ask(
    router: Router, pools: Sequence[Pool], request: Request | None = None
) -> tuple[str, bytes]:
    return await router.first(pools, whole_answer, request)


async def unchanged(number: Callable[[], int]) -> None:
    """Returns when the loop has turned a thousand times and nothing has moved."""
    before, turns = number(), 0
    while turns < 1_000:
        await asyncio.sleep(0)
        now = number()
        before, turns = now, turns + 1 if now == before else 0
