"""What it costs to hold four limits and settle them: in the process, and in a Valkey beside it."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.resolving import CALLER
from outcrop.counters.config import ValkeyConfig
from outcrop.counters.limit import Counters, Grant, Hold, Limit
from outcrop.counters.local import LocalCounters
from outcrop.counters.valkey import open_valkey
from outcrop.fleet.fleet import Fleet
from outcrop.fleet.units import Units
from outcrop.metering.config import AdmissionConfig, QuotaConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.quotas import Quotas
from outcrop.runtime.admission import Admission
from outcrop.runtime.target import Targets
from outcrop.server.clock import steady_clock, utc_now
from outcrop.store.catalogue import Catalogue
from tests.valkey import ValkeyProcess, valkey_server

ROUNDS, CALLS = 5, 8_000
CALLERS = (1, 8, 32)
HOLDS = tuple(
    Hold(Limit(key=f"on-demand/111122223333/us-east-1/model/{name}", most=10**12, span_s=span), n)
    for name, span, n in (
        ("tokens", 60, 1_500),
        ("tokens-a-day", 86_400, 1_500),
        ("requests", 60, 1),
        ("concurrent", 0, 1),
    )
)
FULL = (Hold(Limit(key="full", most=100, span_s=86_400), 60),)
USED = {hold.limit.key: hold.amount // 2 for hold in HOLDS}


def main() -> None:
    print(f"{'hold of four limits, and settle':40}{'callers':>8}{'µs of CPU':>11}{'Valkey':>8}")
    uvloop.run(measure_local())
    with valkey_server() as valkey:
        uvloop.run(measure_valkey(valkey))


async def measure_local() -> None:
    counters = LocalCounters(steady_clock())
    report("in process", 1, await best_us(lambda: held(counters), callers=1))
    report("in process, all of admission", 1, await best_us(await admitting(counters), callers=1))
    await counters.hold(FULL)
    report("in process, refused", 1, await best_us(lambda: counters.hold(FULL), callers=1))


async def admitting(counters: Counters) -> Callable[[], Awaitable[object]]:
    """As a request is admitted: its quotas found, held and settled, its rank."""
    most = 10**12
    rule = QuotaConfig(
        tokens_per_minute=most,
        tokens_per_day=most,
        requests_per_minute=most,
        concurrent_requests=most,
    )
    admission = Admission(counters, Quotas([rule]), Units({}, [], bases={}), AdmissionConfig())
    # What is not asked for here needs no store.
    targets = Targets(Catalogue(), Fleet([], None), _NoRecords(), _NoRecords())
    target = await targets.resolve(CALLER, "amazon.nova-lite-v1:0")
    made = ModelInvocation(
        request_id="1", operation="Converse", caller=CALLER, began_at=utc_now(), headers={}
    )

    async def admitted() -> None:
        (await admission.admit(made, target, tokens_in=100, tokens_out=500)).settle()

    return admitted


class _NoRecords:
    async def find(self, *_: object, **__: object) -> None:
        raise NotImplementedError("nothing is looked up")


async def measure_valkey(valkey: ValkeyProcess) -> None:
    async with (
        asyncio.TaskGroup() as tasks,
        open_valkey(
            ValkeyConfig(url=valkey.url), {}, workers=1, clock=steady_clock(), tasks=tasks
        ) as counters,
    ):
        for callers in CALLERS:
            before = cpu_s(valkey)
            us = await best_us(lambda: held(counters), callers=callers)
            of_valkey = (cpu_s(valkey) - before) / (ROUNDS * CALLS) * 1e6
            report("in Valkey", callers, us, of_valkey)
        await counters.hold(FULL)
        for callers in CALLERS:
            us = await best_us(lambda: counters.hold(FULL), callers=callers)
            report("in Valkey, refused", callers, us)


async def held(counters: Counters) -> None:
    grant = await counters.hold(HOLDS)
    assert isinstance(grant, Grant)
    counters.settle(grant, USED)


async def best_us(call: Callable[[], Awaitable[object]], *, callers: int) -> float:
    """Of this process, kernel included."""

    async def some() -> None:
        for _ in range(CALLS // callers):
            await call()

    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(some())
        best = min(best, time.process_time() - began)
    return best / CALLS * 1e6


def cpu_s(valkey: ValkeyProcess) -> float:
    fields = Path(f"/proc/{valkey.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def report(what: str, callers: int, us: float, of_valkey: float | None = None) -> None:
    beside = "" if of_valkey is None else f"{of_valkey:.1f}"
    print(f"{what:40}{callers:>8}{us:>11.1f}{beside:>8}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
