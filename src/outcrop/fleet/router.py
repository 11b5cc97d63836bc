"""Which server, and which next."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack

from msgspec import Struct

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.model_server import Answering, Calling, whole

_log = logging.getLogger(__name__)


class Candidate(Struct, frozen=True):
    """A server that may answer, and what to ask it for."""

    server: Answering
    dialect: str
    served_as: str
    region: str | None
    capabilities: Capabilities = Capabilities()


class Opened(Struct, frozen=True):
    """The candidate that answers, and its answer."""

    candidate: Candidate
    chunks: AsyncIterator[bytes]


class Answered(Struct, frozen=True):
    """The candidate that answered, and its whole answer."""

    candidate: Candidate
    body: bytes


CallFor = Callable[[Candidate], Calling]


class Router:
    async def open(
        self, held: AsyncExitStack, candidates: Sequence[Candidate], call_for: CallFor
    ) -> Opened:
        """The first candidate that answers. Once it has, no other is asked, whatever happens.

        What the answer needs is given back when `held` is closed.
        """
        *others, last = _in_order(candidates)
        for candidate in others:
            try:
                return await _open(held, candidate, call_for(candidate))
            except ServerFailureError as failure:
                _go_on_after(failure)
        return await _open(held, last, call_for(last))

    async def ask(self, candidates: Sequence[Candidate], call_for: CallFor) -> Answered:
        """The first whole answer: one that breaks off has been seen by nobody."""
        *others, last = _in_order(candidates)
        for candidate in others:
            try:
                return await _asked(candidate, call_for(candidate))
            except ServerFailureError as failure:
                _go_on_after(failure)
        return await _asked(last, call_for(last))


def _in_order(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """As they come; but who would let a call wait is asked after those who would not."""
    return sorted(candidates, key=lambda candidate: candidate.server.busy)


def _go_on_after(failure: ServerFailureError) -> None:
    if not failure.another_may_answer:
        raise failure
    _log.warning("model server failed, trying the next: %s", failure)


async def _open(held: AsyncExitStack, candidate: Candidate, call: Calling) -> Opened:
    chunks = await held.enter_async_context(candidate.server.open(call))
    return Opened(candidate, chunks)


async def _asked(candidate: Candidate, call: Calling) -> Answered:
    async with candidate.server.open(call) as chunks:
        return Answered(candidate, await whole(candidate.server.name, chunks))
