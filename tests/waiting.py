"""What happens by itself is looked for, not slept for."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

WITHIN_S = 15.0
_LOOK_EVERY_S = 0.01


def once(
    look: Callable[[], Seen], enough: Callable[[Seen], bool], within_s: float = WITHIN_S
) -> Seen:
    """What is seen as soon as it is enough; after that time, what is seen then."""
    deadline = time.monotonic() + within_s
    while not enough(seen := look()) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return seen


def eventually(holds: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
    """Whether it came to hold within that time."""
    return once(holds, bool, within_s)


async def until(holds: Callable[[], bool], within_s: float = WITHIN_S) -> float:
    """How long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() < began + within_s, "it did not happen"
        await asyncio.sleep(_LOOK_EVERY_S)
    return loop.time() - began
