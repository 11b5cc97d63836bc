"""The clocks: everything else is handed one."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from outcrop.wire.timestamps import Clock


def utc_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - here it comes from


def steady_clock(
    now: Clock = utc_now,
    passed: Callable[[], float] = time.monotonic,  # noqa: TID251 - here it comes from
) -> Clock:
    """Begins at the present, and goes on as time does, however the machine's clock is set."""
    began, at = now(), passed()
    return lambda: began + timedelta(seconds=passed() - at)
