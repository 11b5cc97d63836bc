"""What workers tell each other of servers: who ejects one, spares the others finding out."""

from collections.abc import Iterator

from outcrop.counters.shared import SharedFacts
from outcrop.fleet.server_state import ServerState

# Long enough for all to hear of it; how long the server is left alone, each decides by itself.
_TOLD_FOR_S = 3.0
_PREFIX = "ejected/"


class SharedHealth:
    def __init__(self, facts: SharedFacts, worker: str) -> None:
        """`worker`: a name unlike any other's."""
        self._facts = facts
        self._worker = worker
        self._number = 0
        self._heard: dict[str, str] = {}

    def tell(self, state: ServerState) -> None:
        """It has just been ejected."""
        self._number += 1
        text = f"{self._worker} {self._number} {state.health.why}"
        self._facts.put(f"{_PREFIX}{state.name}", text, _TOLD_FOR_S)

    def news(self) -> Iterator[tuple[str, str]]:
        """Servers that others have ejected since this was asked last, and why."""
        told = self._facts.get_all(_PREFIX)
        new = {key: text for key, text in told.items() if self._heard.get(key) != text}
        self._heard = dict(told)
        for key, text in new.items():
            worker, _, why = text.split(" ", 2)
            if worker != self._worker:
                yield key.removeprefix(_PREFIX), why
