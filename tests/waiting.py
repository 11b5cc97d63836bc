"""What happens by itself is looked for, not slept for."""

import asyncio
import time
from collections.abc import Callable

WITHIN_S = 15.0
_LOOK_EVERY_S = 0.01


def eventually(holds: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
    """Whether it came to hold within that time."""
    deadline = time.monotonic() + within_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return held


async def until(holds: Callable[[], bool], within_s: float = WITHIN_S) -> float:
    """How long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() < began + within_s, "it did not happen"
        await asyncio.sleep(_LOOK_EVERY_S)
    return loop.time() - began
