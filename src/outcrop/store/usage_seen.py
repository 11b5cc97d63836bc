"""Which metrics there are: of each series, the last day on which each had values."""

from collections.abc import Mapping
from operator import itemgetter

from outcrop.store.database import Transaction
from outcrop.store.usage_rollup import RolledUp, decode_seen, encode_seen, metric_key
from outcrop.store.usage_sums import Sums

_DAY_S = 86_400
_SEEN = "SELECT seen FROM usage_series WHERE series_id = $1"
_SEE = "UPDATE usage_series SET seen = $2 WHERE series_id = $1"


async def see(
    transaction: Transaction,
    rolled: RolledUp,
    ids: Mapping[tuple[str, str, str, str], int],
    known: Mapping[int, Mapping[str, int]],
) -> Mapping[int, Mapping[str, int]]:
    """Notes the last day of each metric, where that is new; gives all of what was noted."""
    noted: dict[int, Mapping[str, int]] = {}
    for series, spans in rolled.metrics.items():
        series_id, days = ids[metric_key(series)], _last_days(spans)
        before = known.get(series_id, {})
        if all(before.get(name, -1) >= day for name, day in days.items()):
            continue
        rows = await transaction.fetch(_SEEN, series_id)
        before = decode_seen(rows[0][0])
        noted[series_id] = before | {
            name: max(at, before.get(name, 0)) for name, at in days.items()
        }
        await transaction.execute(_SEE, series_id, encode_seen(noted[series_id]).decode())
    return noted


def _last_days(spans: Mapping[tuple[int, int], Sums]) -> Mapping[str, int]:
    """By a metric's name."""
    days = [(at, sums) for (span_s, at), sums in spans.items() if span_s == _DAY_S]
    return {name: at for at, sums in sorted(days, key=itemgetter(0)) for name in sums.metrics}
