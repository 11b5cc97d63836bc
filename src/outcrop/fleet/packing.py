"""Whether units fit on servers that can be filled by a mix: pure.

A server that holds 8 units of one kind, or 4 of another, holds a of the one and b of the other
where a/8 + b/4 is at most 1. Whether that works out over all servers is a linear program, of as
many variables as there are kinds on servers: let alike servers be one that holds more.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Kind = TypeVar("Kind", bound=Hashable)

_ZERO = 1e-9
_NOTHING_LEFT = 1e-6


def lacking(servers: Sequence[Mapping[Kind, int]], wanted: Mapping[Kind, int]) -> float:
    """How many of the wanted units find no place, where they are placed as well as can be."""
    left = sum(wanted.values()) - _most(servers, wanted)
    return left if left > _NOTHING_LEFT else 0.0


def linked(servers: Sequence[Mapping[Kind, int]], kind: Kind) -> frozenset[Kind]:
    """The kinds that may stand in each other's way: those that share servers, and so on."""
    found = {kind}
    before = 0
    while len(found) > before:
        before = len(found)
        for server in servers:
            if not found.isdisjoint(server):
                found.update(server)
    return frozenset(found)


def _most(servers: Sequence[Mapping[Kind, int]], wanted: Mapping[Kind, int]) -> float:
    """The most units that can be placed.

    Variables: which share of a server a kind fills. Rows: no server is filled beyond its whole; no
    kind gets more than is wanted of it.
    """
    columns = [
        (number, kind, units)
        for number, server in enumerate(servers)
        for kind, units in server.items()
        if units and wanted.get(kind)
    ]
    rows = [
        [float(of == number) for of, _, _ in columns] + [1.0] for number, _ in enumerate(servers)
    ]
    rows += [
        [float(units) * (of == kind) for _, of, units in columns] + [float(number)]
        for kind, number in wanted.items()
    ]
    return _maximum([float(units) for _, _, units in columns], rows)


def _maximum(gains: Sequence[float], rows: Sequence[Sequence[float]]) -> float:
    """Of the gains' sum, where each row's sum is at most its last number: the simplex method.

    All are at least 0, so it begins with nothing placed. By Bland's rule it comes to its end.
    """
    places = len(rows)
    tableau = [
        [*row[:-1], *(float(i == j) for j in range(places)), row[-1]] for i, row in enumerate(rows)
    ]
    goal = [-gain for gain in gains] + [0.0] * (places + 1)
    basis = [len(gains) + i for i in range(places)]
    while True:
        gaining = [j for j, value in enumerate(goal[:-1]) if value < -_ZERO]
        if not gaining:
            return goal[-1]
        column = gaining[0]
        _, _, row = min(
            (line[-1] / line[column], basis[i], i)
            for i, line in enumerate(tableau)
            if line[column] > _ZERO
        )
        _pivot(tableau, goal, row, column)
        basis[row] = column


def _pivot(tableau: list[list[float]], goal: list[float], row: int, column: int) -> None:
    factor = tableau[row][column]
    pivot = tableau[row] = [value / factor for value in tableau[row]]
    for other in (*tableau[:row], *tableau[row + 1 :], goal):
        times = other[column]
        if times:
            other[:] = [value - times * of for value, of in zip(other, pivot, strict=True)]
