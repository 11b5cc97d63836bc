"""Which server, and which next."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.model_server import Answering, Call

_log = logging.getLogger(__name__)


class Candidate(Struct, frozen=True):
    """A server that may answer, and what to ask it for."""

    server: Answering
    dialect: str
    served_as: str
    region: str | None


class Opened(Struct, frozen=True):
    """The candidate that answers, and its answer."""

    candidate: Candidate
    chunks: AsyncIterator[bytes]


class Router:
    @asynccontextmanager
    async def open(
        self, candidates: Sequence[Candidate], call_for: Callable[[Candidate], Call]
    ) -> AsyncGenerator[Opened]:
        """The first candidate that answers. Once it has, no other is asked, whatever happens."""
        async with AsyncExitStack() as held:
            yield await _first_to_answer(held, candidates, call_for)


async def _first_to_answer(
    held: AsyncExitStack, candidates: Sequence[Candidate], call_for: Callable[[Candidate], Call]
) -> Opened:
    *others, last = candidates
    for candidate in others:
        try:
            return await _open(held, candidate, call_for(candidate))
        except ServerFailureError as failure:
            if not failure.another_may_answer:
                raise
            _log.warning("model server failed, trying the next: %s", failure)
    return await _open(held, last, call_for(last))


async def _open(held: AsyncExitStack, candidate: Candidate, call: Call) -> Opened:
    chunks = await held.enter_async_context(candidate.server.open(call))
    return Opened(candidate, chunks)
