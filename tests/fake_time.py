"""An event loop whose time passes only when everybody waits, and then at once."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Timers fire in their order, at their time to the nanosecond; nobody sleeps. No sockets."""

    def __init__(self) -> None:
        selector = _Leaps()
        super().__init__(selector)
        self._leaps = selector

    def time(self) -> float:
        return self._leaps.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in fake time."""
    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        return runner.run(main)


class _Leaps(selectors.SelectSelector):
    """Waiting moves the time instead."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, for nothing that will come")
        self.now += max(timeout, 0.0)
        return super().select(0)
