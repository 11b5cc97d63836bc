"""Queries over what a hundred million invocations leave behind, on both engines.

Ninety days of fifty series with rows for every minute, hour and day: some 15 invocations a minute
and series. CPU and the wait for PostgreSQL count: milliseconds of wall clock, best of five.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import structs

from outcrop.iam.caller import Caller
from outcrop.metering.costs import Costs
from outcrop.metering.prices import PriceList
from outcrop.reporting.measurements import Measurements
from outcrop.reporting.metric_data import MetricData
from outcrop.reporting.metrics import Metrics
from outcrop.reporting.statistics import NAMESPACE
from outcrop.store import usage_sums
from outcrop.store.database import Database, Transaction, Work
from outcrop.store.migrations import migrate
from outcrop.store.store import Store, open_database
from outcrop.store.usage import MetricName
from outcrop.store.usage_rollup import (
    Costs as CostSums,
    CostSeries,
    MetricSeries,
    RolledUp,
    encode_seen,
)
from outcrop.store.usage_sums import Spread, Sums, encode_sums
from outcrop.wire.shapes.cloudwatch import (
    Dimension,
    GetMetricDataInput,
    ListMetricsInput,
    Metric,
    MetricDataQuery,
    MetricStat,
)
from tests.postgres import new_database, postgres_server

ACCOUNT, REGION = "111122223333", "us-east-1"
START = datetime(2026, 8, 1, tzinfo=UTC)
DAYS, SERIES, A_MINUTE = 90, 50, 15
PROFILES = 5_000
MANY = "444455556666"
"""An account with so many application profiles, each used on the last day."""
ROUNDS, AT_MOST_MS = 5, 100.0
_PER_INSERT = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minute-days", type=int, default=DAYS, help="with rows for each minute")
    minute_days = parser.parse_known_args()[0].minute_days
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure("SQLite", str(Path(folder) / "outcrop.db"), minute_days))
    with postgres_server() as server:
        asyncio.run(_measure("PostgreSQL", new_database(server, "bench"), minute_days))


Ask = Callable[[], Awaitable[object]]
CALLER = Caller(account_id=ACCOUNT, arn="a", user_id="u", region=REGION, partition="aws")


def _metric_query(model: str, period_s: int, stat: str) -> MetricDataQuery:
    name = "InvocationLatency" if stat.startswith("p") else "InputTokenCount"
    dimensions = [Dimension(name="ModelId", value=model)]
    metric = Metric(namespace=NAMESPACE, metric_name=name, dimensions=dimensions)
    stat_ = MetricStat(metric=metric, period=period_s, stat=stat)
    return MetricDataQuery(id=model.replace("-", "_"), metric_stat=stat_)


async def _measure(name: str, location: str, minute_days: int) -> None:
    async with open_database(location) as database:
        await migrate(database)
        await fill(database, minute_days)
        store = Store(database, clock=lambda: START + timedelta(days=DAYS))
        print(f"{name}: {DAYS * 1440 * SERIES * A_MINUTE / 1e6:.0f} million invocations")
        for title, ask in _questions(store, minute_days).items():
            best, rows = await _best_ms(database, ask)
            missed = f"  (wanted: {AT_MOST_MS:.0f})" if best > AT_MOST_MS else ""
            print(f"  {title:58}{rows:>7} rows{best:>9.1f} ms{missed}", flush=True)


def _questions(store: Store, minute_days: int) -> dict[str, Ask]:
    end = START + timedelta(days=DAYS)
    since_minutes = START + timedelta(days=minute_days - 1)
    costs = Costs(
        store.usage, store.provisioned_hours, PriceList(), clock=lambda: START + timedelta(days=90)
    )

    def metric(name: str, start: datetime, period_s: int) -> Callable[[], Awaitable[object]]:
        metric_name = MetricName(name=name, dimensions=(("ModelId", "model-7"),))
        until = min(start + timedelta(days=1), end) if period_s <= 300 else end
        return lambda: store.usage.metric(
            ACCOUNT, REGION, metric_name, start=start, end=until, period_s=period_s
        )

    def bill(days: int, granularity: str, *by: str) -> Callable[[], Awaitable[object]]:
        return lambda: costs.costs(
            ACCOUNT,
            start=end - timedelta(days=days),
            end=end,
            granularity=granularity,  # type: ignore[arg-type]
            group_by=by,
        )

    # As if the finest rows were of these days: old spans are rounded to whole hours.
    now = START + timedelta(days=minute_days)
    measurements = Measurements(store.usage, usage_sums)
    metrics = Metrics(measurements, page_token_key=b"k" * 32, clock=lambda: end)
    data = MetricData(measurements, page_token_key=b"k" * 32, clock=lambda: now)

    def metric_data(days: float, period_s: int, stat: str, *, late_s: int) -> Ask:
        """Of three models; `late_s`: how far from a boundary of its period the span begins."""
        # Finer than hours are the first days only.
        start = now - timedelta(days=days) + timedelta(seconds=late_s)
        queries = [_metric_query(f"model-{n}", period_s, stat) for n in range(3)]
        asked = GetMetricDataInput(metric_data_queries=queries, start_time=start, end_time=now)

        async def ask() -> object:
            answer = await data.get_metric_data(CALLER, asked)
            return answer.metric_data_results[0].values  # type: ignore[index]

        return ask

    async def list_metrics() -> object:
        many = structs.replace(CALLER, account_id=MANY)
        asked = ListMetricsInput(namespace=NAMESPACE, metric_name="Invocations")
        return (await metrics.list_metrics(many, asked)).metrics

    return {
        f"ListMetrics, a page of {PROFILES} profiles": list_metrics,
        "GetMetricData, 3 Sums by 5 minutes, one day": metric_data(1, 300, "Sum", late_s=0),
        "GetMetricData, 3 p99 by hour, 7 days": metric_data(7, 3_600, "p99", late_s=0),
        "GetMetricData, 3 p99 by hour, 3 days, misaligned": metric_data(3, 3_600, "p99", late_s=60),
        "GetMetricData, 3 Sums by day, 14 days, misaligned": metric_data(
            14, 86_400, "Sum", late_s=3_600
        ),
        "metric names of 14 days": lambda: store.usage.metric_names(
            ACCOUNT, REGION, since=end - timedelta(days=14)
        ),
        "tokens a minute, one day": metric("InputTokenCount", since_minutes, 60),
        "latency sketches by 5 minutes, one day": metric("InvocationLatency", since_minutes, 300),
        "latency sketches by hour, 90 days": metric("InvocationLatency", START, 3_600),
        "latency sketches by day, 90 days": metric("InvocationLatency", START, 86_400),
        "costs by day and model, 90 days": bill(90, "DAILY", "MODEL"),
        "costs by month and tag, 90 days": bill(90, "MONTHLY", "TAG:team"),
        "costs by hour and usage type, 14 days": bill(14, "HOURLY", "USAGE_TYPE"),
        "costs by hour, 3 days": bill(3, "HOURLY"),
    }


async def _best_ms(database: Database, ask: Callable[[], Awaitable[object]]) -> tuple[float, int]:
    best, rows = float("inf"), 0
    for _ in range(ROUNDS):
        # So that SQLite remembers no answer.
        await database.write(_touch)
        began = time.perf_counter()
        answer = await ask()
        best = min(best, time.perf_counter() - began)
        rows = len(answer)  # type: ignore[arg-type]
    return best * 1000, rows


async def _touch(transaction: object) -> None:
    await transaction.execute(  # type: ignore[attr-defined]
        "INSERT INTO usage_journals (journal_id, position) VALUES ('touch', 0)"
        " ON CONFLICT (journal_id) DO UPDATE SET position = usage_journals.position + 1"
    )


async def fill(database: Database, minute_days: int) -> None:
    store = Store(database, clock=lambda: START)
    metrics = [MetricSeries(ACCOUNT, REGION, (("ModelId", f"model-{n}"),)) for n in range(SERIES)]
    series = [_cost_series(number) for number in range(SERIES)]
    ids = await store.usage._series_ids(  # noqa: SLF001 - rows as they would be
        RolledUp(
            metrics={one: {} for one in metrics},
            costs={(ACCOUNT, one): {} for one in series},
        )
    )
    by_kind: dict[str, list[int]] = {"metric": [], "cost": []}
    for key, series_id in ids.items():
        by_kind[key[0]].append(series_id)
    columns: tuple[str, ...] = ("series_id", "span_s", "at", "sums")
    await _insert(database, "usage_metrics", columns, _metrics(by_kind["metric"], minute_days))
    columns = ("account_id", "span_s", "at", "series_id", *CostSums._fields)
    await _insert(database, "usage_costs", columns, _costs(by_kind["cost"]))
    many = [MetricSeries(MANY, REGION, (("ModelId", f"profile-{n}"),)) for n in range(PROFILES)]
    await store.usage._series_ids(  # noqa: SLF001
        RolledUp(metrics={one: {} for one in many}, costs={})
    )
    last_day = int((START + timedelta(days=DAYS - 1)).timestamp())
    names = ("Invocations", "InputTokenCount", "OutputTokenCount", "InvocationLatency")
    await database.write(_see(dict.fromkeys(names, last_day)))


def _see(names: Mapping[str, int]) -> Work[int]:
    seen = encode_seen(names).decode()

    async def work(transaction: Transaction) -> int:
        return await transaction.execute("UPDATE usage_series SET seen = $1", seen)

    return work


def _cost_series(number: int) -> CostSeries:
    return CostSeries(
        region=REGION,
        principal_arn=f"arn:aws:iam::{ACCOUNT}:user/{number % 10}",
        foundation_model_id=f"vendor.model-{number % 8}",
        inference_profile_arn=None,
        provisioned_model_arn=None,
        service_tier=None,
        tags=(("team", f"team-{number % 7}"),),
        priced=True,
    )


def _metrics(ids: list[int], minute_days: int) -> Iterator[tuple[int, int, int, bytes]]:
    random.seed(1)
    first = int(START.timestamp())
    for span_s, days, values in (
        (60, minute_days, A_MINUTE),
        (3_600, DAYS, A_MINUTE * 60),
        (86_400, DAYS, A_MINUTE * 1440),
    ):
        blobs = [_sums(values) for _ in range(16)]
        for at in range(first, first + days * 86_400, span_s):
            for series_id in ids:
                yield series_id, span_s, at, blobs[(at // span_s + series_id) % 16]


def _sums(count: int) -> bytes:
    latencies = [random.lognormvariate(6, 1) for _ in range(count)]
    spread = Spread.of(latencies, sketched=True)
    tokens = Spread.of([random.randrange(2_000) for _ in range(count)], sketched=False)
    sums = Sums(invocations=count, latency_ms=spread, first_token_ms=spread)
    return encode_sums(
        structs.replace(sums, input_tokens=tokens, output_tokens=tokens, quota_tokens=tokens)
    )


def _costs(ids: list[int]) -> Iterator[tuple[str | int, ...]]:
    first = int(START.timestamp())
    for span_s in (3_600, 86_400):
        count = A_MINUTE * span_s // 60
        row = (count, count * 900, count * 300, 0, 0, count * 900 * 60_000, count * 300, 0, 0)
        for at in range(first, first + DAYS * 86_400, span_s):
            for series_id in ids:
                yield ACCOUNT, span_s, at, series_id, *row


async def _insert(
    database: Database, table: str, columns: tuple[str, ...], rows: Iterator[tuple[object, ...]]
) -> None:
    chunk: list[tuple[object, ...]] = []

    async def work(transaction: object) -> None:
        await transaction.insert_many(table, columns, chunk)  # type: ignore[attr-defined]

    for row in rows:
        chunk.append(row)
        if len(chunk) == _PER_INSERT:
            await database.write(work)
            chunk.clear()
    await database.write(work)


if __name__ == "__main__":
    main()
