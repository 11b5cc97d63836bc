"""How `outcrop usage` looks: a table, bars, JSON (pure)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from msgspec import Struct, json, structs

from outcrop.metering.config import BudgetConfig

_STARTS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
_NARROWEST = 8
_MONEY = (("USD", 1), ("thousandths of a USD", 1_000), ("millionths of a USD", 1_000_000))
_NUMBERS = ("invocations", "tokens", "unit hours", "USD")


class Line(Struct, frozen=True, kw_only=True):
    """One line of a report."""

    start: datetime | None
    keys: tuple[str, ...]
    invocations: int
    tokens: int
    model_unit_hours: Decimal
    cost_usd: Decimal
    priced: bool


class Unused(Struct, frozen=True, kw_only=True):
    kind: str
    arn: str
    name: str


def unused_table(found: Sequence[Unused]) -> str:
    if not found:
        return "everything was used"
    return "\n".join(f"{one.kind:18} {one.name}  {one.arn}" for one in found)


def budgets_table(spent: Sequence[tuple[BudgetConfig, Decimal]]) -> str:
    """Each budget with what was spent of it in this period, in US dollars."""
    if not spent:
        return "no budget is configured: [[budgets]] sets one"
    heads = ("budget", "when spent", "a", "USD", "of", "spent")
    rows = [heads, *(_budget_cells(rule, dollars) for rule, dollars in spent)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_row(row, widths, 3) for row in rows)


def _budget_cells(rule: BudgetConfig, dollars: Decimal) -> tuple[str, ...]:
    percent = f"{100 * dollars / rule.amount_usd:.1f}%"
    amounts = f"{dollars:.6f}", f"{rule.amount_usd:f}"
    return rule.name, rule.when_spent, rule.period.lower(), *amounts, percent


def table(lines: Sequence[Line], by: Sequence[str], width: int) -> str:
    """`by`: the heads of the keys. Fits `width` columns: long keys lose their middle."""
    rows = [(*by, *_NUMBERS), *(_cells(line, by) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths[: len(by)]) > _NARROWEST:
        widths[widths.index(max(widths[: len(by)]))] -= 1
    texts = [_row(row, widths, len(by)) for row in rows]
    if any(not line.priced for line in lines):
        texts.append("* no price is known for (some of) it: [[prices]] sets one")
    return "\n".join(texts)


def as_json(lines: Sequence[Line]) -> str:
    """Decimals as text, without an exponent."""
    objects = [
        {
            name: f"{value:f}" if isinstance(value, Decimal) else value
            for name, value in structs.asdict(line).items()
        }
        for line in lines
    ]
    return json.format(json.encode(objects), indent=2).decode()


def plot(lines: Sequence[Line], by: Sequence[str], width: int) -> str:
    """A bar a line: dollars, or tokens where nothing costs anything."""
    import plotext  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs] -- half a second

    plt = cast("Any", plotext)
    title, values = _heights(lines)
    names = [" ".join(_cells(line, by)[: -len(_NUMBERS)]) or "all" for line in lines]
    plt.clear_figure()
    plt.theme("clear")
    plt.simple_bar(
        [_shortened(name, width // 2) for name in names],
        values,
        width=width - 1,  # it takes "60.00" to be as long as "60.0"
        title=title,
    )
    return str(plt.uncolorize(plt.build()))


def _heights(lines: Sequence[Line]) -> tuple[str, list[float]]:
    """Their unit, and what they are; bars are labelled to two decimals."""
    most = max((line.cost_usd for line in lines), default=Decimal(0))
    if not most:
        return "tokens", [float(line.tokens) for line in lines]
    title, factor = next((one for one in _MONEY if most * one[1] >= 1), _MONEY[-1])
    return title, [float(line.cost_usd * factor) for line in lines]


def _cells(line: Line, by: Sequence[str]) -> tuple[str, ...]:
    start = () if line.start is None else (line.start.strftime(_STARTS[by[0]]),)
    return (
        *start,
        *(key or "-" for key in line.keys),
        f"{line.invocations:,}",
        f"{line.tokens:,}",
        f"{line.model_unit_hours:,.2f}",
        f"{line.cost_usd:,.6f}{'' if line.priced else '*'}",
    )


def _row(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    shown = [_shortened(cell, width) for cell, width in zip(cells, widths, strict=True)]
    padded = [
        text.ljust(width) if at < left else text.rjust(width)
        for at, (text, width) in enumerate(zip(shown, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    kept = width - 1
    return f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"
