"""The run of benchmarks/isolation.py as a picture: answers a second, and how long calls took."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.isolation import Asked, Plan, Seen

WIDTH, HEIGHT, LEFT, RIGHT, GAP = 760, 190, 60, 20, 56
PROVISIONED, ON_DEMAND, TOGETHER, CAPACITY = "#0b6e4f", "#d17a22", "#8a8f98", "#000000"


def plotted(seen: "Seen", plan: "Plan") -> str:
    total_s = plan.unloaded_s + plan.seconds
    on_demand = [one for one in seen.on_demand if one.status == 200]
    answered = [
        (TOGETHER, _rates([*on_demand, *seen.provisioned], total_s)),
        (ON_DEMAND, _rates(on_demand, total_s)),
        (PROVISIONED, _rates(seen.provisioned, total_s)),
    ]
    most_rate = plan.capacity * 1.25
    most_ms = 100 * ceil(max(one.took_s for one in seen.provisioned) * 10)
    body = [
        *_axes(0, "answers a second", most_rate, total_s),
        _line(0, [(0, plan.capacity), (total_s, plan.capacity)], total_s, most_rate, CAPACITY),
        *(_line(0, points, total_s, most_rate, color) for color, points in answered),
        *_axes(1, "provisioned calls, ms", most_ms, total_s),
        _dots(1, seen.provisioned, total_s, most_ms),
        *_legend(),
    ]
    height = 2 * HEIGHT + 2 * GAP + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _rates(calls: "Sequence[Asked]", total_s: float) -> list[tuple[float, float]]:
    """Answers by the second they came in."""
    counts = [0] * (int(total_s) + 1)
    for one in calls:
        counts[int(one.at_s + one.took_s)] += 1
    return [(second + 0.5, count) for second, count in enumerate(counts[: int(total_s)])]


def _x(at_s: float, total_s: float) -> float:
    return LEFT + at_s / total_s * (WIDTH - LEFT - RIGHT)


def _y(panel: int, value: float, most: float) -> float:
    return 24 + panel * (HEIGHT + GAP) + HEIGHT * (1 - value / most)


def _axes(panel: int, title: str, most: float, total_s: float) -> Iterator[str]:
    bottom, top = _y(panel, 0, most), _y(panel, most, most)
    yield f'<text x="{LEFT}" y="{top - 8:.0f}" font-weight="bold">{title}</text>'
    yield (f'<path d="M{LEFT} {top:.0f}V{bottom:.0f}H{WIDTH - RIGHT}" fill="none" stroke="#444"/>')
    for part in range(5):
        value = most * part / 4
        y = _y(panel, value, most)
        yield f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{value:.0f}</text>'
    for tenth in range(11):
        at_s = total_s * tenth / 10
        yield (
            f'<text x="{_x(at_s, total_s):.0f}" y="{bottom + 16:.0f}"'
            f' text-anchor="middle">{at_s:.0f} s</text>'
        )


def _line(
    panel: int, points: Sequence[tuple[float, float]], total_s: float, most: float, color: str
) -> str:
    path = " ".join(f"{_x(x, total_s):.1f},{_y(panel, y, most):.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _dots(panel: int, calls: "Sequence[Asked]", total_s: float, most: float) -> str:
    """As one path of lines without length, whose ends are round."""
    places = ((_x(one.at_s, total_s), _y(panel, one.took_s * 1000, most)) for one in calls)
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    return f'<path d="{path}" stroke="{PROVISIONED}" stroke-width="2.2" stroke-linecap="round"/>'


def _legend() -> Iterator[str]:
    for number, (color, text) in enumerate(
        [
            (PROVISIONED, "provisioned"),
            (ON_DEMAND, "on-demand"),
            (TOGETHER, "together"),
            (CAPACITY, "capacity"),
        ]
    ):
        x = WIDTH - RIGHT - 410 + number * 105
        yield f'<rect x="{x}" y="8" width="14" height="4" fill="{color}"/>'
        yield f'<text x="{x + 20}" y="15">{text}</text>'
