"""The rules of admission, as plainly as they can be said: a list of what was granted, summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from outcrop.counters.limit import HELD_RETRY_S, Hold, Limit


@dataclass
class Charge:
    limit: Limit
    amount: int
    at_s: float


@dataclass
class Model:
    now_s: float = 0.0
    charges: list[Charge] = field(default_factory=list)

    def hold(self, holds: Sequence[Hold]) -> list[Charge] | tuple[Limit, float | None]:
        waits = [(hold.limit, self.wait_s(hold)) for hold in holds]
        for limit, wait_s in waits:
            if wait_s is None:
                return limit, None
        limit, longest_s = max(waits, key=lambda wait: wait[1] or 0)
        if longest_s:
            return limit, longest_s
        granted = [Charge(hold.limit, hold.amount, self.now_s) for hold in holds]
        self.charges += granted
        for hold in holds:
            self.check(hold.limit)
        return granted

    def settle(self, granted: Sequence[Charge], amounts: Mapping[str, int]) -> None:
        for charge in granted:
            used = amounts.get(charge.limit.key, 0) if charge.limit.span_s else 0
            if used > charge.amount:
                beyond = used - charge.amount
                self.charges.append(Charge(charge.limit, beyond, self.now_s))
            charge.amount = min(charge.amount, used)

    def used(self, limit: Limit) -> int:
        return sum(charge.amount for charge in self.counting(limit, self.now_s))

    def wait_s(self, hold: Hold) -> float | None:
        """By looking at every later second whether there would be room."""
        limit = hold.limit
        if hold.amount > limit.most:
            return None
        if not limit.span_s:
            return HELD_RETRY_S if self.used(limit) + hold.amount > limit.most else 0
        at_s = self.now_s
        while sum(c.amount for c in self.counting(limit, at_s)) + hold.amount > limit.most:
            at_s = (at_s // limit.step_s + 1) * limit.step_s
        return at_s - self.now_s

    def counting(self, limit: Limit, at_s: float) -> list[Charge]:
        oldest = at_s // limit.step_s - limit.buckets
        return [
            charge
            for charge in self.charges
            if charge.limit.key == limit.key
            and (not limit.span_s or charge.at_s // limit.step_s >= oldest)
        ]

    def check(self, limit: Limit) -> None:
        """Never more than `most` was granted within the span that ends now, to the moment."""
        granted = sum(
            charge.amount
            for charge in self.charges
            if charge.limit.key == limit.key
            and (not limit.span_s or charge.at_s > self.now_s - limit.span_s)
        )
        assert granted <= limit.most
