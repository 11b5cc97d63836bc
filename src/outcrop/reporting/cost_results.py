"""Costs as Cost Explorer lays them out: by period, then by group (pure)."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from msgspec import structs

from outcrop.metering.costs import CostRow
from outcrop.reporting.cost_filter import Keys
from outcrop.reporting.cost_periods import CostSpan
from outcrop.wire.shapes.ce import DateInterval, Group, MetricValue, ResultByTime

COSTS = ("UnblendedCost", "BlendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost")
"""Without reservations, discounts and consolidated billing they are all the same."""
USAGE = "UsageQuantity"
IN_CAPITALS = {
    "UNBLENDED_COST": "UnblendedCost",
    "BLENDED_COST": "BlendedCost",
    "AMORTIZED_COST": "AmortizedCost",
    "NET_UNBLENDED_COST": "NetUnblendedCost",
    "NET_AMORTIZED_COST": "NetAmortizedCost",
    "USAGE_QUANTITY": USAGE,
}
"""How Amazon takes them, too, and scripts write them; the answer has the other names."""

Position = tuple[str, tuple[str, ...]]
"""When a period begins, and the keys of a group in it."""
_Rows = Sequence[tuple[Keys, CostRow]]


def results_by_time(
    span: CostSpan, groupings: Sequence[str], metrics: Sequence[str], rows: _Rows, now: datetime
) -> Iterator[ResultByTime]:
    """By time; with groupings one for each group, to be `joined`: so pages can end anywhere."""
    periods = [*span.periods()]
    begins = [begin for begin, _ in periods]
    by_period: defaultdict[int, list[tuple[Keys, CostRow]]] = defaultdict(list)
    for keys, row in rows:
        by_period[max(bisect_right(begins, row.start) - 1, 0)].append((keys, row))
    for number, (begin, end) in enumerate(periods):
        period = ResultByTime(
            time_period=span.interval(begin, end), total={}, groups=[], estimated=end > now
        )
        if groupings:
            yield from _grouped(period, groupings, metrics, by_period[number])
        else:
            total = _metrics(metrics, [row for _, row in by_period[number]])
            yield structs.replace(period, total=total)


def joined(results: Iterable[ResultByTime]) -> Iterator[ResultByTime]:
    for _, group in groupby(results, key=_when):
        first, *others = group
        groups = [*(first.groups or ()), *(g for other in others for g in other.groups or ())]
        yield structs.replace(first, groups=groups)


def position(result: ResultByTime) -> Position:
    """Of one that is not joined: in the order in which they come."""
    keys = [key for group in result.groups or () for key in group.keys or ()]
    return result.time_period.start if result.time_period else "", tuple(keys)


def _when(result: ResultByTime) -> DateInterval | None:
    return result.time_period


def _grouped(
    period: ResultByTime, groupings: Sequence[str], metrics: Sequence[str], rows: _Rows
) -> Iterator[ResultByTime]:
    groups: defaultdict[tuple[str, ...], list[CostRow]] = defaultdict(list)
    for keys, row in rows:
        groups[tuple(_key(name, keys[name]) for name in groupings)].append(row)
    if not groups:
        yield period
    for keys_of_group, rows_of_group in sorted(groups.items()):
        group = Group(keys=list(keys_of_group), metrics=_metrics(metrics, rows_of_group))
        yield structs.replace(period, groups=[group])


def _key(name: str, value: str) -> str:
    """A tag's is `team$checkout`, and `team$` without a value."""
    return f"{name.removeprefix('TAG:')}${value}" if name.startswith("TAG:") else value


def _metrics(names: Iterable[str], rows: Sequence[CostRow]) -> dict[str, MetricValue]:
    cost = MetricValue(amount=_amount(row.cost for row in rows), unit="USD")
    units = {row.unit for row in rows}
    # As Amazon says where amounts of different things are added up, and where there are none.
    unit = units.pop() if len(units) == 1 else "N/A"
    usage = MetricValue(amount=_amount(row.usage for row in rows), unit=unit)
    return {name: usage if name == USAGE else cost for name in names}


def _amount(values: Iterable[Decimal]) -> str:
    """Never in powers of ten."""
    text = f"{sum(values, Decimal(0)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
