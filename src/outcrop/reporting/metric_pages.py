"""GetMetricData's pages: so many points, of all lines one after the other (pure)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct

from outcrop.wire.shapes.cloudwatch import MetricDataResult
from outcrop.wire.timestamps import to_micros

Points: TypeAlias = Sequence[tuple[datetime, float]]
Position: TypeAlias = tuple[int, int | None]
"""Which line, and the moment of the last point of it that was told, in microseconds."""
BEGINNING: Final[Position] = 0, None


class Line(Struct, frozen=True, kw_only=True):
    """One result: its points by time."""

    id: str
    label: str
    points: Points


def page_of(
    lines: Sequence[Line], begin: Position, most: int, *, descending: bool
) -> tuple[list[MetricDataResult], Position | None]:
    """Up to so many points, and where the next page begins.

    A line is named where its turn comes, so that one sees what has no data.
    """
    results: list[MetricDataResult] = []
    first, told = begin
    for number, line in enumerate(lines[first:], first):
        points = _ordered(line.points, told if number == first else None, descending=descending)
        if points and not most:
            return results, (number, None)
        part = points[:most]
        most -= len(part)
        complete = len(part) == len(points)
        results.append(_result(line, part, complete=complete))
        if not complete:
            return results, (number, to_micros(part[-1][0]))
    return results, None


def _ordered(points: Points, told: int | None, *, descending: bool) -> Points:
    """Those after the one that was told last: others may have come in before it meanwhile."""
    ordered = points[::-1] if descending else points
    if told is None:
        return ordered
    sign = -1 if descending else 1
    return [point for point in ordered if sign * (to_micros(point[0]) - told) > 0]


def _result(line: Line, points: Points, *, complete: bool) -> MetricDataResult:
    return MetricDataResult(
        id=line.id,
        label=line.label,
        timestamps=[at for at, _ in points],
        values=[value for _, value in points],
        status_code="Complete" if complete else "PartialData",
    )
