"""Statistics of how a metric's values are spread: `p99.9`, `tm90`, `TM(10%:90%)`, `PR(:300)`."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from outcrop.reporting.statistics import Statistic
from outcrop.reporting.usage_queries import Sketches
from outcrop.store.usage import MetricPoint

_NUMBER = r"\d{1,15}(?:\.\d{1,10})?"
_SHARE = r"\d{1,2}(?:\.\d{1,10})?|100(?:\.0{1,10})?"
_PERCENTILE = re.compile(rf"p({_SHARE})", re.IGNORECASE | re.ASCII)
_UP_TO = re.compile(rf"(TM|TC|TS|WM)({_SHARE})", re.IGNORECASE | re.ASCII)
_BETWEEN = re.compile(
    rf"(TM|TC|TS|WM|PR)\((?P<low>{_NUMBER}%?)?:(?P<high>{_NUMBER}%?)?\)", re.IGNORECASE | re.ASCII
)
_IQM: Final = "TM(25%:75%)"

_Part: TypeAlias = tuple[float, float]
"""Which part of the values a statistic is of, from the lowest (0) to the highest (1)."""


class _Spread(Struct, frozen=True):
    point: MetricPoint
    sketch: bytes
    sketches: Sketches

    def value_at(self, share: float) -> float:
        if share in (0, 1):
            return self.point.most if share else self.point.least
        return self.sketches.quantile(self.sketch, share)

    def share_up_to(self, value: float) -> float:
        if value >= self.point.most:
            return 1
        return 0 if value < self.point.least else self.sketches.share_up_to(self.sketch, value)

    def count(self, part: _Part) -> float:
        low, high = part
        return self.point.count * (high - low)

    def mean(self, part: _Part) -> float | None:
        low, high = part
        return self.sketches.trimmed_mean(self.sketch, low, high) if low < high else None


def spread_statistic(text: str, sketches: Sketches) -> Statistic | None:
    """None for what is no statistic. A point without a sketch has no such statistic."""
    if found := _PERCENTILE.fullmatch(text):
        return _percentile(float(found[1]) / 100, sketches)
    if found := _UP_TO.fullmatch(text):
        return _of_part(found[1], None, f"{found[2]}%", sketches)
    if found := _BETWEEN.fullmatch(_IQM if text.upper() == "IQM" else text):
        low, high = found["low"], found["high"]
        return _of_part(found[1], low, high, sketches) if _are_bounds(found[1], low, high) else None
    return None


def _percentile(share: float, sketches: Sketches) -> Statistic:
    def of(point: MetricPoint) -> float | None:
        if share in (0, 1):
            return point.most if share else point.least
        return None if point.sketch is None else sketches.quantile(point.sketch, share)

    return of


def _of_part(name: str, low: str | None, high: str | None, sketches: Sketches) -> Statistic:
    def of(point: MetricPoint) -> float | None:
        if point.sketch is None:
            return None
        spread = _Spread(point, point.sketch, sketches)
        begin = 0 if low is None else _share(low, spread)
        end = 1 if high is None else _share(high, spread)
        return _OF_PART[name.upper()](spread, (begin, end))

    return of


def _share(bound: str, spread: _Spread) -> float:
    if bound.endswith("%"):
        return float(bound[:-1]) / 100
    return spread.share_up_to(float(bound))


def _sum(spread: _Spread, part: _Part) -> float:
    mean = spread.mean(part)
    return 0 if mean is None else mean * spread.count(part)


def _rank(_: _Spread, part: _Part) -> float:
    low, high = part
    return 100 * (high - low)


def _winsorized_mean(spread: _Spread, part: _Part) -> float:
    """What is outside counts as what is at the bound."""
    low, high = part
    inside = (spread.mean(part) or 0) * (high - low)
    return low * spread.value_at(low) + inside + (1 - high) * spread.value_at(high)


_OF_PART: Mapping[str, Callable[[_Spread, _Part], float | None]] = {
    "TM": _Spread.mean,
    "TC": _Spread.count,
    "TS": _sum,
    "WM": _winsorized_mean,
    "PR": _rank,
}


def _are_bounds(name: str, low: str | None, high: str | None) -> bool:
    """Shares of the values or values, and the lower one first; a rank is of values alone."""
    given = [bound for bound in (low, high) if bound is not None]
    shares = [float(bound[:-1]) for bound in given if bound.endswith("%")]
    if not given or (shares and (name.upper() == "PR" or max(shares) > 100)):
        return False
    values = [float(bound) for bound in given if not bound.endswith("%")]
    return all(pair[0] < pair[1] for pair in (shares, values) if len(pair) == 2)
