"""What a worker sees to now and then, of the journal that it writes."""

import asyncio
from time import perf_counter
from typing import Any, Protocol

from outcrop.metering.importer import LogSpool, Sleep
from outcrop.metering.journal import Journal, Seconds


class Says(Protocol):
    said: bool
    """Whether something was said in what was packed since this was last made False."""


async def tend(
    journal: Journal[Any],
    entries: Says,
    log: LogSpool,
    *,
    seconds: Seconds = perf_counter,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """For as long as the worker lives: a full disk is seen, and what was said goes to its log."""
    seal_at: float | None = None
    while True:
        await sleep(log.look_every_s)
        journal.look_for_room()
        now = seconds()
        if entries.said and seal_at is None:
            seal_at = now - log.look_every_s + log.batch_s  # none of it was there a round ago
        if seal_at is not None and now >= seal_at:
            journal.seal()
            entries.said, seal_at = False, None
