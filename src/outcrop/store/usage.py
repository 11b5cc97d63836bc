"""What was used: records of invocations in blocks, and their sums by minute, hour and day.

The sums of a block of a journal, its records and how far the journal has been read are one
transaction: each record counts exactly once, whoever reads the journal and however often.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b

from msgspec import Struct

from outcrop.store.database import Database, Row, Transaction, Value, insertion
from outcrop.store.usage_age import forget_sums
from outcrop.store.usage_records import UsageRecord, ended_at, records_in
from outcrop.store.usage_rollup import (
    COST_SPANS,
    METRIC_SPANS,
    Costs,
    CostSeries,
    DeliveryCounts,
    RolledUp,
    cost_key,
    count_with_role,
    decode_dimensions,
    decode_seen,
    decode_series,
    encode_series,
    is_session,
    metric_key,
    rolled_up,
    rolled_up_deliveries,
)
from outcrop.store.usage_seen import see
from outcrop.store.usage_sums import Spread, Sums, decode_sums, encode_sums
from outcrop.wire.timestamps import from_micros, to_micros

_MICROS = 1_000_000
_DAY_S = 86_400

_POSITION = "SELECT position FROM usage_journals WHERE journal_id = $1"
_MOVE = """
    INSERT INTO usage_journals (journal_id, position) VALUES ($1, $2)
    ON CONFLICT (journal_id) DO UPDATE SET position = excluded.position
"""
_FORGET_JOURNAL = "DELETE FROM usage_journals WHERE journal_id = $1"
_ADD_BLOCK = insertion("usage_records", ("until", "journal_id", "position", "since", "records"))
_BLOCKS = "SELECT records FROM usage_records WHERE until >= $1 AND since < $2 ORDER BY until"
_FORGET_RECORDS = "DELETE FROM usage_records WHERE until < $1"

_SERIES_ID = """
    SELECT series_id FROM usage_series
    WHERE kind = $1 AND account_id = $2 AND region = $3 AND digest = $4
"""
_ADD_SERIES = """
    INSERT INTO usage_series (kind, account_id, region, digest, dimensions)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
_METRIC_SERIES = """
    SELECT dimensions, seen FROM usage_series
    WHERE kind = $1 AND account_id = $2 AND region = $3
"""
_COST_SERIES = """
    SELECT series_id, dimensions FROM usage_series WHERE kind = $1 AND account_id = $2
"""
_COUNT_SERIES = "SELECT COUNT(*) FROM usage_series WHERE kind = $1 AND account_id = $2"
_ACCOUNTS = "SELECT DISTINCT account_id FROM usage_series WHERE kind = $1"

_SUMS = "SELECT sums FROM usage_metrics WHERE series_id = $1 AND span_s = $2 AND at = $3"
_PUT_SUMS = """
    INSERT INTO usage_metrics (series_id, span_s, at, sums) VALUES ($1, $2, $3, $4)
    ON CONFLICT (series_id, span_s, at) DO UPDATE SET sums = excluded.sums
"""
_METRICS = """
    SELECT at, sums FROM usage_metrics
    WHERE series_id = $1 AND span_s = $2 AND at >= $3 AND at < $4 ORDER BY at
"""
_COST_KEY = ("account_id", "span_s", "at", "series_id")
_ADD_COSTS = (
    insertion("usage_costs", (*_COST_KEY, *Costs._fields))
    + f" ON CONFLICT ({', '.join(_COST_KEY)}) DO UPDATE SET "
    + ", ".join(f"{field} = usage_costs.{field} + excluded.{field}" for field in Costs._fields)
)
_COSTS = (
    f"SELECT at, series_id, {', '.join(Costs._fields)} FROM usage_costs"  # noqa: S608 -- ours
    " WHERE account_id = $1 AND span_s = $2 AND at >= $3 AND at < $4"
)


class MetricName(Struct, frozen=True, kw_only=True):
    name: str
    dimensions: tuple[tuple[str, str], ...]
    """By name. None: all invocations of the account and Region."""


class MetricPoint(Struct, frozen=True, kw_only=True):
    """One metric over one period."""

    at: datetime
    """When the period begins."""
    count: int
    total: float
    least: float
    most: float
    sketch: bytes | None
    """How the values are spread (usage_sums.quantile); None where it is not kept."""


class CostPoint(Struct, frozen=True):
    at: datetime
    series: CostSeries
    costs: Costs


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database
        # A series is never taken away.
        self._ids: dict[tuple[str, str, str, str], int] = {}
        self._cost_series: dict[int, CostSeries] = {}
        # What is in the store already; it only grows.
        self._seen: dict[int, Mapping[str, int]] = {}

    async def position(self, journal_id: str) -> int:
        """How many bytes of the journal are in the store."""
        rows = await self._database.fetch(_POSITION, journal_id)
        return rows[0][0] if rows else 0

    async def add(
        self,
        journal_id: str,
        position: int,
        frames: bytes,
        *,
        until: int | None = None,
        most_series: int | None = None,
    ) -> bool:
        """Takes in the whole frames, one at least, that the journal has from `position` on.

        `until`: where it goes on, if there are others between them. Beyond `most_series` of an
        account, new sessions of a role count as one.

        False, and nothing has changed, if the store has another position for it by now.
        """
        sums = rolled_up(frames)
        if most_series is not None:
            await self._bound(sums, most_series)
        ids = await self._series_ids(sums)
        end = position + len(frames) if until is None else until
        seen: dict[int, Mapping[str, int]] = {}

        async def work(transaction: Transaction) -> bool:
            # Sums are read, merged and written: by one at a time.
            await transaction.alone()
            rows = await transaction.fetch(_POSITION, journal_id)
            if (rows[0][0] if rows else 0) != position:
                return False
            await transaction.execute(_MOVE, journal_id, end)
            block = sums.until, journal_id, position, sums.since, frames
            await transaction.execute(_ADD_BLOCK, *block)
            await _add_metrics(transaction, sums, ids)
            await _add_costs(transaction, sums, ids)
            seen.update(await see(transaction, sums, ids, self._seen))
            return True

        added = await self._database.write(work)
        self._seen |= seen
        return added

    async def count_deliveries(self, counts: DeliveryCounts) -> None:
        """Of invocation logs; each call adds to what is there."""
        sums = rolled_up_deliveries(counts)
        ids = await self._series_ids(sums)
        seen: dict[int, Mapping[str, int]] = {}

        async def work(transaction: Transaction) -> None:
            await transaction.alone()
            await _add_metrics(transaction, sums, ids)
            seen.update(await see(transaction, sums, ids, self._seen))

        await self._database.write(work)
        self._seen |= seen

    async def forget_journal(self, journal_id: str) -> None:
        """When its file is gone."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_FORGET_JOURNAL, journal_id)

        await self._database.write(work)

    async def forget_records(self, before: datetime) -> int:
        """How many blocks of records went. Their sums stay."""

        async def work(transaction: Transaction) -> int:
            return await transaction.execute(_FORGET_RECORDS, to_micros(before))

        return await self._database.write(work)

    async def forget_sums(self, *, minutes_before: datetime, hours_before: datetime) -> None:
        """Those of minutes and hours that begin before; those of days stay."""
        await forget_sums(self._database, minutes_before=minutes_before, hours_before=hours_before)

    async def records(
        self, account_id: str, *, start: datetime, end: datetime
    ) -> list[UsageRecord]:
        """Of invocations that ended from `start` on and before `end`, by that time."""
        since, until = to_micros(start), to_micros(end)
        rows = await self._database.fetch(_BLOCKS, since, until)
        found = [
            record
            for (frames,) in rows
            for record in records_in(frames)
            if record.account_id == account_id and since <= ended_at(record) < until
        ]
        return sorted(found, key=ended_at)

    async def accounts(self) -> list[str]:
        """Those that used anything."""
        return sorted(row[0] for row in await self._database.fetch(_ACCOUNTS, "cost"))

    async def metric_names(
        self, account_id: str, region: str, *, since: datetime
    ) -> Sequence[MetricName]:
        """What has values, in days (of UTC) that end after `since`."""
        first = _floor(since, _DAY_S)
        names: list[MetricName] = []
        rows = await self._database.fetch(_METRIC_SERIES, "metric", account_id, region)
        for dimensions, seen in rows:
            recent = [name for name, day in decode_seen(seen).items() if day >= first]
            if recent:
                parsed = decode_dimensions(dimensions)
                names += [MetricName(name=name, dimensions=parsed) for name in recent]
        return names

    async def metric(
        self,
        account_id: str,
        region: str,
        metric: MetricName,
        *,
        start: datetime,
        end: datetime,
        period_s: int,
    ) -> Sequence[MetricPoint]:
        """By time; periods without a value are left out.

        Periods (multiples of 60 seconds) are counted from 1970. Those in which `start` and `end`
        fall are whole where `start` does, and left out from `end` on.
        """
        dimensions = encode_series(tuple(sorted(metric.dimensions))).decode()
        series_id = await self._series_id(("metric", account_id, region, dimensions))
        if series_id is None:
            return []
        span_s = next(span for span in reversed(METRIC_SPANS) if period_s % span == 0)
        first, last = _floor(start, period_s), -(-to_micros(end) // _MICROS)
        rows = await self._database.fetch(_METRICS, series_id, span_s, first, last)
        return list(_points(rows, metric.name, period_s))

    async def costs(
        self, account_id: str, *, start: datetime, end: datetime, span_s: int
    ) -> Sequence[CostPoint]:
        """By hour or day: those that begin from `start` on and before `end`."""
        assert span_s in COST_SPANS
        known = await self._series_of(account_id)
        first, last = (-(-to_micros(moment) // _MICROS) for moment in (start, end))
        rows = await self._database.fetch(_COSTS, account_id, span_s, first, last)
        moments = {row[0]: from_micros(row[0] * _MICROS) for row in rows}
        return [CostPoint(moments[row[0]], known[row[1]], Costs(*row[2:])) for row in rows]

    async def _series_of(self, account_id: str) -> Mapping[int, CostSeries]:
        for series_id, text in await self._database.fetch(_COST_SERIES, "cost", account_id):
            if series_id not in self._cost_series:
                self._cost_series[series_id] = decode_series(text)
        return self._cost_series

    async def _series_id(self, key: tuple[str, str, str, str]) -> int | None:
        if key not in self._ids:
            *owner, dimensions = key
            rows = await self._database.fetch(_SERIES_ID, *owner, _digest(dimensions))
            if not rows:
                return None
            self._ids[key] = rows[0][0]
        return self._ids[key]

    async def _bound(self, sums: RolledUp, most_series: int) -> None:
        """Of what sessions make new, what is too much goes to their roles."""
        known: dict[str, int] = {}
        for account_id, series in list(sums.costs):
            if not is_session(series.principal_arn):
                continue
            if await self._series_id(cost_key(account_id, series)) is not None:
                continue
            if account_id not in known:
                rows = await self._database.fetch(_COUNT_SERIES, "cost", account_id)
                known[account_id] = rows[0][0]
            known[account_id] += 1
            if known[account_id] > most_series:
                count_with_role(sums, account_id, series)

    async def _series_ids(self, sums: RolledUp) -> Mapping[tuple[str, str, str, str], int]:
        """Of all series, made where they are new: in a transaction of their own, which may stay."""
        keys = [*map(metric_key, sums.metrics), *(cost_key(*key) for key in sums.costs)]
        new = [key for key in keys if await self._series_id(key) is None]

        async def work(transaction: Transaction) -> None:
            for key in new:
                *owner, dimensions = key
                await transaction.execute(_ADD_SERIES, *owner, _digest(dimensions), dimensions)

        if new:
            await self._database.write(work)
            for key in new:
                await self._series_id(key)
        return self._ids


def _digest(dimensions: str) -> bytes:
    """Fifty tags are longer than PostgreSQL's longest key."""
    return blake2b(dimensions.encode(), digest_size=16).digest()


def _floor(moment: datetime, span_s: int) -> int:
    return to_micros(moment) // _MICROS // span_s * span_s


async def _add_metrics(
    transaction: Transaction, rolled: RolledUp, ids: Mapping[tuple[str, str, str, str], int]
) -> None:
    for series, spans in rolled.metrics.items():
        series_id = ids[metric_key(series)]
        for (span_s, at), sums in spans.items():
            rows = await transaction.fetch(_SUMS, series_id, span_s, at)
            total = decode_sums(rows[0][0]) if rows else Sums()
            total.add(sums)
            await transaction.execute(_PUT_SUMS, series_id, span_s, at, encode_sums(total))


async def _add_costs(
    transaction: Transaction, rolled: RolledUp, ids: Mapping[tuple[str, str, str, str], int]
) -> None:
    for (account_id, series), spans in rolled.costs.items():
        series_id = ids[cost_key(account_id, series)]
        for (span_s, at), costs in spans.items():
            values: tuple[Value, ...] = (account_id, span_s, at, series_id, *costs)
            await transaction.execute(_ADD_COSTS, *values)


def _points(rows: Sequence[Row], metric: str, period_s: int) -> Iterator[MetricPoint]:
    periods: dict[int, Spread] = {}
    for at, sums in rows:
        spread = decode_sums(sums).spread(metric)
        periods.setdefault(at // period_s * period_s, Spread()).add(spread)
    for at, spread in periods.items():
        if spread.count:
            yield MetricPoint(
                at=from_micros(at * _MICROS),
                count=spread.count,
                total=spread.total,
                least=spread.least,
                most=spread.most,
                sketch=spread.sketch,
            )
