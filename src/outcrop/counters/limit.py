"""Limits, and what is held of them: the words that counters and those who ask them share."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

# Nobody knows when a concurrent request ends: the wait that a refusal then names.
HELD_RETRY_S = 1.0
_FINEST_S = 1
_MOST_BUCKETS = 1_440


class Limit(Struct, frozen=True, kw_only=True):
    key: str
    """Whose and of what: "on-demand/111122223333/us-east-1/amazon.nova-lite-v1:0/tokens"."""
    most: int
    """What may be granted within any span."""
    span_s: int
    """0: what is held counts until it is given back (concurrent requests)."""

    @property
    def step_s(self) -> int:
        """The width of a bucket: what is granted within one leaves the span together."""
        return max(_FINEST_S, self.span_s // _MOST_BUCKETS)

    @property
    def buckets(self) -> int:
        """How many must have begun after a bucket's own before what it holds has left the span."""
        return -(-self.span_s // self.step_s)


class Hold(Struct, frozen=True):
    limit: Limit
    amount: int


class Refused(Struct, frozen=True):
    limit: Limit
    """Of those without room, the one that takes longest to have it."""
    retry_after_s: float | None
    """None: the amount is above what is ever granted, and no wait will help."""


class Grant(Struct, frozen=True, eq=False):
    """What was held, as its counters remember it; for whoever holds it just a thing to settle."""

    number: int
    holds: tuple[Hold, ...]
    at_s: float
    """On the steady time of the counters that gave it."""


class Counters(Protocol):
    async def hold(self, holds: Sequence[Hold]) -> Grant | Refused:
        """All of it or nothing. The keys of `holds` differ.

        Raises ServiceUnavailableException when there is nobody to ask.
        """
        ...

    def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        """What was really used, by key. A key left out is given back whole.

        What is held until it is given back is given back. A second time changes nothing.
        """
        ...

    async def used(self, limits: Sequence[Limit]) -> Sequence[int]:
        """What counts at present, in the order of `limits`."""
        ...
