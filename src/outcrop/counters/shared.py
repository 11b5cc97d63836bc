"""Small facts that workers tell each other, each for a time: "this server is ejected"."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from outcrop.counters.steady import Steady
from outcrop.wire.timestamps import Clock


class Fact(Struct, frozen=True):
    key: str
    value: str
    ttl_s: float


class SharedFacts:
    """What this worker put is seen at once; what others put, within a second of it.

    Without Valkey, or while it is lost, a worker knows only what it put itself.
    """

    def __init__(self, clock: Clock, *, tell: Callable[[], None] | None = None) -> None:
        """`tell` is called when there is something to tell the others, if there are others."""
        self._steady = Steady(clock)
        self._own: dict[str, tuple[str, float]] = {}
        self._others: dict[str, tuple[str, float]] = {}
        self._untold: set[str] = set()
        self._tell = tell

    def put(self, key: str, value: str, ttl_s: float) -> None:
        """The last one to put a key wins."""
        self._own[key] = (value, self._steady() + ttl_s)
        if self._tell is not None:
            self._untold.add(key)
            self._tell()

    def get_all(self, prefix: str) -> Mapping[str, str]:
        now = self._steady()
        self._own = _living(self._own, now)
        self._others = _living(self._others, now)
        known = {**self._others, **self._own}
        return {key: value for key, (value, _) in known.items() if key.startswith(prefix)}

    @property
    def untold(self) -> bool:
        return bool(self._untold)

    def take_untold(self) -> list[Fact]:
        now = self._steady()
        own = _living({key: self._own[key] for key in self._untold if key in self._own}, now)
        self._untold.clear()
        return [Fact(key, value, until - now) for key, (value, until) in own.items()]

    def learn(self, facts: Iterable[Fact]) -> None:
        """All that the workers know together: what was told is no longer this worker's own."""
        now = self._steady()
        self._others = {fact.key: (fact.value, now + fact.ttl_s) for fact in facts}
        self._own = {key: own for key, own in self._own.items() if key in self._untold}


def _living(facts: dict[str, tuple[str, float]], now: float) -> dict[str, tuple[str, float]]:
    return {key: fact for key, fact in facts.items() if fact[1] > now}
