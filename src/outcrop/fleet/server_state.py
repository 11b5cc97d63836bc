"""What is known of one server while it serves: its slots, its health, its load and its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import exp, log
from typing import Protocol

from outcrop.fleet.health import Health
from outcrop.fleet.http_client import Address
from outcrop.fleet.slots import Slots

# An answer as old as this says nothing of the next one.
_FORGOTTEN_S = 60.0
# Of each new time, in the mean of their logarithms: one long prompt makes no slow server.
_NEWEST_COUNTS = 0.2
# The event loop's clock is not finer.
_SHORTEST_S = 0.001


class Latency:
    """The time to the first byte, as it was lately: a mean that no single answer can move far."""

    __slots__ = ("_log_s", "_told_at", "samples", "typical_s")

    def __init__(self) -> None:
        self.samples = 0
        self.typical_s = 0.0
        self._log_s = 0.0
        self._told_at = 0.0

    def tell(self, first_byte_s: float, now: float) -> None:
        log_s = log(max(first_byte_s, _SHORTEST_S))
        if not self.known(now):
            self.samples, self._log_s = 0, log_s
        self.samples += 1
        self._log_s += _NEWEST_COUNTS * (log_s - self._log_s)
        self.typical_s = exp(self._log_s)
        self._told_at = now

    def known(self, now: float) -> bool:
        return self.samples > 0 and now - self._told_at < _FORGOTTEN_S

    def forget(self) -> None:
        self.samples = 0


class Aside(Protocol):
    """Where a server is not looked for until it comes back."""

    def put_back(self, state: ServerState) -> None: ...


class ServerState:
    __slots__ = (
        "_aside",
        "_latencies",
        "_looks_again",
        "_looks_again_at",
        "_slots",
        "address",
        "ejected",
        "health",
        "in_flight",
        "name",
        "not_ready",
        "patience_s",
        "weight",
    )

    def __init__(
        self,
        name: str,
        *,
        most: int | None = None,
        weight: float = 1.0,
        patience_s: float = 120.0,
        address: Address | None = None,
    ) -> None:
        """`most`: calls at once; `patience_s`: how long a call may wait to be one of them."""
        self.name = name
        self.address = address
        """None: in a child of ours."""
        self.weight = weight
        self.patience_s = patience_s
        self.slots = Slots(most)
        self.health = Health()
        self.in_flight = 0
        self.ejected: Callable[[], object] = _nobody_probes
        """Called when it has just been ejected."""
        self.not_ready: Callable[[], str] = _ready
        """Why whoever is asked now may have to wait, where that is known; else empty."""
        self._looks_again: asyncio.Handle | None = None
        self._looks_again_at = 0.0
        self._latencies: dict[str, Latency] = {}
        self._aside: list[Aside] = []

    def latency(self, served_as: str) -> Latency:
        """Of one of its models: large ones take longer."""
        return self._latencies.setdefault(served_as, Latency())

    @property
    def slots(self) -> Slots:
        return self._slots

    @slots.setter
    def slots(self, slots: Slots) -> None:
        """Its own, or those of the one in whose place it is: calls to that are calls to it."""
        self._slots = slots
        slots.freed = self._put_back

    def admits(self, now: float) -> bool:
        """Whether it should be asked, and has room."""
        health = self.health
        return (health.well or health.admits(now, self.in_flight)) and self._slots.free

    def give_back(self) -> None:
        """A call has ended."""
        self.in_flight -= 1
        self.slots.give_back()

    def set_aside(self, aside: Aside) -> None:
        self._aside.append(aside)

    def look_again(self) -> None:
        """It comes back when time alone has changed what is known of it, if ever.

        There is one timer: a moment that is put off is looked at again when the timer rings.
        """
        loop, until = asyncio.get_running_loop(), self.health.until
        if not loop.time() < until < float("inf"):
            return
        if self._looks_again is not None:
            if self._looks_again_at <= until:
                return
            self._looks_again.cancel()
        self._looks_again_at = until
        self._looks_again = loop.call_at(until, self._time_has_come)

    def come_back(self) -> None:
        """To those who wait, and to wherever it was set aside.

        Who looks there finds out whether it may be asked.
        """
        self.slots.offer()
        self._put_back()

    def _time_has_come(self) -> None:
        self._looks_again = None
        self.look_again()
        if self._looks_again is None:
            self.come_back()

    def _put_back(self) -> None:
        while self._aside:
            self._aside.pop().put_back(self)


def _ready() -> str:
    return ""


def _nobody_probes() -> None:
    pass
