"""What one worker, or all of them, have measured until now, and how things stand."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from operator import add, sub
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import astuple, replace

from outcrop.counters.limit import Counters
from outcrop.fleet.server_state import ServerState
from outcrop.metering.measures import Histogram, Labels, Measures, Series
from outcrop.wire.errors import AwsError

K = TypeVar("K")
V = TypeVar("V")
Count: TypeAlias = Callable[[Any, Any], Any]
"""Addition or subtraction."""


class ServerNow(Struct, array_like=True):
    """One model server."""

    name: str
    healthy: bool
    """Neither ejected, nor on trial, nor told to be left alone. Of several workers: in each."""
    in_flight: int


class Snapshot(Struct, array_like=True, kw_only=True):
    series: Sequence[Series] = ()
    requests: Mapping[tuple[str, str, int], int] = {}
    """By service, operation and status."""
    in_progress: int = 0
    waiting: int = 0
    """Calls that wait for a slot of a server."""
    servers: Sequence[ServerNow] = ()
    utilization: Mapping[tuple[str, str], float] = {}
    """By provisioned model and type of token: the share of a minute's tokens that is in use."""


class Meter:
    """Reads what one worker knows."""

    def __init__(
        self,
        measures: Measures,
        counters: Counters,
        *,
        states: Callable[[], Iterable[ServerState]],
        waiting: Callable[[], int],
    ) -> None:
        self.measures = measures
        self._counters = counters
        self._states = states
        self._waiting = waiting

    async def read(self) -> Snapshot:
        """Without utilization while the counters cannot be reached."""
        utilization: Mapping[tuple[str, str], float] = {}
        with suppress(AwsError):
            utilization = await self._utilization()
        now = asyncio.get_running_loop().time()
        return Snapshot(
            series=self.measures.series,
            requests=self.measures.requests,
            in_progress=self.measures.in_progress,
            waiting=self._waiting(),
            servers=_servers(self._states(), now),
            utilization=utilization,
        )

    async def _utilization(self) -> dict[tuple[str, str], float]:
        bought = self.measures.bought
        limits = [quota.limit for quotas in bought.values() for quota in quotas]
        if not limits:
            return {}
        used = dict(
            zip((limit.key for limit in limits), await self._counters.used(limits), strict=True)
        )
        return {
            (arn, "output" if quota.per_output else "input"): used[quota.limit.key]
            / max(quota.limit.most, 1)
            for arn, quotas in bought.items()
            for quota in quotas
        }


def _servers(states: Iterable[ServerState], now: float) -> Sequence[ServerNow]:
    """The models that we ship have one name."""
    servers: dict[str, ServerNow] = {}
    for state in states:
        server = ServerNow(state.name, state.health.state(now) == "healthy", state.in_flight)
        before = servers.get(state.name)
        servers[state.name] = server if before is None else _in_both(before, server)
    return tuple(servers.values())


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Counts are added. Of a server, the most pessimistic worker is believed."""
    return reduce(_and, snapshots)


def since(now: Snapshot, before: Snapshot) -> Snapshot:
    """What was counted after `before`; how things stand is as it is now."""
    less = partial(_of_both_series, sub)
    return replace(
        now,
        series=tuple(_joined(_by_labels(now), _by_labels(before), less).values()),
        requests=_joined(now.requests, before.requests, sub),
    )


def _and(one: Snapshot, other: Snapshot) -> Snapshot:
    sums = partial(_of_both_series, add)
    return Snapshot(
        series=tuple(_joined(_by_labels(one), _by_labels(other), sums).values()),
        requests=_joined(one.requests, other.requests, add),
        in_progress=one.in_progress + other.in_progress,
        waiting=one.waiting + other.waiting,
        servers=tuple(_joined(_by_name(one), _by_name(other), _in_both).values()),
        utilization=_joined(one.utilization, other.utilization, max),
    )


def _joined(one: Mapping[K, V], other: Mapping[K, V], both: Callable[[V, V], V]) -> dict[K, V]:
    joined = dict(one)
    for key, value in other.items():
        joined[key] = both(joined[key], value) if key in joined else value
    return joined


def _by_labels(snapshot: Snapshot) -> dict[Labels, Series]:
    return {series.labels: series for series in snapshot.series}


def _by_name(snapshot: Snapshot) -> dict[str, ServerNow]:
    return {server.name: server for server in snapshot.servers}


def _in_both(one: ServerNow, other: ServerNow) -> ServerNow:
    healthy, in_flight = one.healthy and other.healthy, one.in_flight + other.in_flight
    return ServerNow(one.name, healthy, in_flight)


def _of_both_series(count: Count, one: Series, other: Series) -> Series:
    pairs = zip(astuple(one)[1:], astuple(other)[1:], strict=True)
    counts: list[Any] = [
        count(left, right) if isinstance(left, int) else _of_both_histograms(count, left, right)
        for left, right in pairs
    ]
    return Series(one.labels, *counts)


def _of_both_histograms(count: Count, one: Histogram, other: Histogram) -> Histogram:
    return Histogram(list(map(count, one.counts, other.counts)), count(one.total, other.total))
