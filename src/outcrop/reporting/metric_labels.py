"""Labels of GetMetricData that tell of their series: `${PROP('Dim.ModelId')}`, `${MAX}` (pure)."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from msgspec import Struct

from outcrop.reporting.metric_math_series import Points, Series
from outcrop.reporting.statistics import NAMESPACE
from outcrop.store.usage import MetricName

_DYNAMIC = re.compile(r"\$\{(?:(?P<value>[A-Z_]+)|PROP\('(?P<property>[^']+)'\))\}")
_ZONE = re.compile(r"([+-])([01]\d|2[0-3])([0-5]\d)", re.ASCII)

# Decision: what Amazon writes where there is nothing to tell is not documented.
_NOTHING: Final = "--"

_MOMENTS: Mapping[str, Callable[[Points], datetime]] = {
    "FIRST": lambda points: next(iter(points)),
    "LAST": lambda points: [*points][-1],
    "MIN": lambda points: min(points, key=lambda at: points[at]),
    "MAX": lambda points: max(points, key=lambda at: points[at]),
}
_NUMBERS: Mapping[str, Callable[[Points], float]] = {
    "AVG": lambda points: sum(points.values()) / len(points),
    "SUM": lambda points: sum(points.values()),
    "DATAPOINT_COUNT": len,
}


class Labels(Struct, frozen=True, kw_only=True):
    """Who asks, and when."""

    account_id: str
    region: str
    now: datetime
    zone: timezone

    def of(self, text: str, series: Series, default: str) -> str:
        """What is not known stays as it is written."""
        own = {"AccountId": self.account_id, "AccountLabel": self.account_id, "Region": self.region}
        known = {**own, **series.properties}

        def told(found: re.Match[str]) -> str:
            if found["property"]:
                return known.get(found["property"], _NOTHING)
            if found["value"] == "LABEL":
                return default
            value = self._value(found["value"], series.points)
            return found[0] if value is None else value

        return _DYNAMIC.sub(told, text)

    def _value(self, name: str, points: Points) -> str | None:
        kind, _, detail = name.partition("_")
        if name in _NUMBERS:
            return _number(_NUMBERS[name](points)) if points else _NOTHING
        if kind in _MOMENTS and detail in {"", "TIME", "TIME_RELATIVE"}:
            return self._moment(_MOMENTS[kind](points), detail, points) if points else _NOTHING
        return _range(name, points)

    def _moment(self, at: datetime, detail: str, points: Points) -> str:
        match detail:
            case "TIME":
                return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M:%S %Z}"
            case "TIME_RELATIVE":
                return _duration(abs(self.now - at))
            case _:
                return _number(points[at])


def is_dynamic(text: str) -> bool:
    return _DYNAMIC.search(text) is not None


def properties(metric: MetricName, statistic: str, period_s: int) -> Mapping[str, str]:
    """What `PROP` tells of a metric."""
    return {
        "MetricName": metric.name,
        "Namespace": NAMESPACE,
        "Period": str(period_s),
        "Stat": statistic,
        **{f"Dim.{name}": value for name, value in metric.dimensions},
    }


def zone_of(text: str | None) -> timezone | None:
    """`+0130`: ahead of UTC, which is what None stands for; None for what is no zone."""
    found = _ZONE.fullmatch("+0000" if text is None else text)
    if found is None:
        return None
    ahead = timedelta(hours=int(found[2]), minutes=int(found[3]))
    if not ahead:
        return UTC
    return timezone(-ahead if found[1] == "-" else ahead)


def _range(name: str, points: Points) -> str | None:
    ends = name.removesuffix("_RANGE").removesuffix("_TIME").split("_")
    if not name.endswith("_RANGE") or ends not in (["FIRST", "LAST"], ["MIN", "MAX"]):
        return None
    if not points:
        return _NOTHING
    low, high = (_MOMENTS[end](points) for end in ends)
    if name.endswith("_TIME_RANGE"):
        return _duration(abs(high - low))
    return _number(points[high] - points[low])


def _number(value: float) -> str:
    return f"{value:.15g}"


def _duration(span: timedelta) -> str:
    """`1d 2h 30m`, `5s`."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return " ".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
