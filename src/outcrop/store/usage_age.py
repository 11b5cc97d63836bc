"""Sums that have grown old: those of minutes and hours go, those of days stay."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from outcrop.store.database import Database, Row, Transaction
from outcrop.wire.timestamps import to_micros

HOURS_KEPT = timedelta(days=455)
"""At least, as CloudWatch keeps them; minutes for 63 days."""

_AT_ONCE = 200
"""Series, in one transaction: others write in between."""
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_SERIES = "SELECT series_id FROM usage_series WHERE kind = $1 AND series_id > $2"
_IN_ORDER = f" ORDER BY series_id LIMIT {_AT_ONCE}"
_FORGET_METRICS = "DELETE FROM usage_metrics WHERE series_id = $1 AND span_s = $2 AND at < $3"
_ACCOUNTS = "SELECT DISTINCT account_id FROM usage_series WHERE kind = $1"
_OLDEST = "SELECT MIN(at) FROM usage_costs WHERE account_id = $1 AND span_s = $2 AND at < $3"
_FORGET_COSTS = "DELETE FROM usage_costs WHERE account_id = $1 AND span_s = $2 AND at < $3"


async def forget_sums(
    database: Database, *, minutes_before: datetime, hours_before: datetime
) -> None:
    """Sums whose minute or hour begins before. A little at a time, so that nobody waits long."""
    minutes, hours = (to_micros(moment) // 1_000_000 for moment in (minutes_before, hours_before))
    last = 0
    while rows := await database.fetch(_SERIES + _IN_ORDER, "metric", last):
        await _forget_metrics(database, rows, minutes, hours)
        last = rows[-1][0]
    for (account_id,) in await database.fetch(_ACCOUNTS, "cost"):
        await _forget_costs(database, account_id, hours)


async def _forget_metrics(
    database: Database, series: Sequence[Row], minutes: int, hours: int
) -> None:
    async def work(transaction: Transaction) -> None:
        for (series_id,) in series:
            await transaction.execute(_FORGET_METRICS, series_id, _MINUTE_S, minutes)
            await transaction.execute(_FORGET_METRICS, series_id, _HOUR_S, hours)

    await database.write(work)


async def _forget_costs(database: Database, account_id: str, before: int) -> None:
    """A day at a time."""
    while True:
        ((oldest,),) = await database.fetch(_OLDEST, account_id, _HOUR_S, before)
        if oldest is None:
            return
        until: int = min(oldest + _DAY_S, before)

        async def work(transaction: Transaction, until: int = until) -> None:
            await transaction.execute(_FORGET_COSTS, account_id, _HOUR_S, until)

        await database.write(work)
