"""A series of points, and what is made of one alone (pure)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import accumulate, pairwise
from typing import TypeAlias

from msgspec import Struct, structs

Points: TypeAlias = Mapping[datetime, float]


class Series(Struct, frozen=True, kw_only=True):
    label: str
    period_s: int
    points: Points
    """In the order of time."""
    properties: Mapping[str, str] = {}
    """Of the metric that it is made of, as labels name them: `Dim.ModelId`."""


def rate(series: Series) -> Series:
    """Per second, against the point before."""
    return with_points(
        series,
        {
            at: (series.points[at] - series.points[before]) / (at - before).total_seconds()
            for before, at in pairwise(series.points)
        },
    )


def difference(series: Series) -> Series:
    pairs = pairwise(series.points)
    return with_points(
        series, {at: series.points[at] - series.points[before] for before, at in pairs}
    )


def difference_of_times(series: Series) -> Series:
    pairs = pairwise(series.points)
    return with_points(series, {at: (at - before).total_seconds() for before, at in pairs})


def running_sum(series: Series) -> Series:
    sums = accumulate(series.points.values())
    return with_points(series, dict(zip(series.points, sums, strict=True)))


def interpolated(known: Points, wanted: Iterable[datetime], how: str) -> Points:
    """LINEAR fills between known points, REPEAT also after the last one."""
    ahead = iter([*known, None])
    left, right = None, next(ahead)
    points: dict[datetime, float] = {}
    for moment in wanted:
        while right is not None and right <= moment:
            left, right = right, next(ahead)
        if left is None or (how == "LINEAR" and right is None and left != moment):
            continue
        points[moment] = known[left]
        if how == "LINEAR" and right is not None:
            share = (moment - left) / (right - left)
            points[moment] += (known[right] - known[left]) * share
    return points


def with_points(series: Series, points: Points) -> Series:
    return structs.replace(series, points=points)


def sorted_points(points: Points) -> Points:
    return dict(sorted(points.items()))


def known_points(points: Mapping[datetime, float | None]) -> Points:
    return {at: value for at, value in points.items() if value is not None}
