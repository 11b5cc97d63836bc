"""What one worker may grant by itself while Valkey is lost: its share of every limit."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from outcrop.counters.limit import HELD_RETRY_S, Grant, Hold, Limit, Refused
from outcrop.counters.local import LocalCounters, Settled
from outcrop.wire.timestamps import Clock


class LocalShare:
    """Rounded down: together the workers grant no more than a limit, and of a small one less."""

    def __init__(self, clock: Clock, *, workers: int) -> None:
        self._local = LocalCounters(clock)
        self._workers = max(1, workers)
        self._grants: dict[int, Grant] = {}

    async def hold(self, number: int, holds: Sequence[Hold]) -> Refused | None:
        """None: it is granted, under that number."""
        shares = [Hold(self._share(hold.limit), hold.amount) for hold in holds]
        granted = await self._local.hold(shares)
        if isinstance(granted, Grant):
            self._grants[number] = granted
            return None
        limit = next(hold.limit for hold in holds if hold.limit.key == granted.limit.key)
        wait_s = granted.retry_after_s
        fits = any(h.limit is limit and h.amount <= limit.most for h in holds)
        # More than the share, not more than the limit: there is room when Valkey is back.
        return Refused(limit, HELD_RETRY_S if wait_s is None and fits else wait_s)

    def settle(self, number: int, amounts: Mapping[str, int]) -> bool:
        """False: it was granted elsewhere."""
        grant = self._grants.pop(number, None)
        if grant is None:
            return False
        self._local.settle(grant, amounts)
        return True

    async def used(self, limits: Sequence[Limit]) -> Sequence[int]:
        return await self._local.used(limits)

    def close(self) -> Sequence[Settled]:
        """What was used. What is still held is no longer counted here."""
        for grant in self._grants.values():
            self._local.settle(grant, {})
        self._grants.clear()
        return tuple(self._local.settled())

    def _share(self, limit: Limit) -> Limit:
        return replace(limit, most=limit.most // self._workers)
