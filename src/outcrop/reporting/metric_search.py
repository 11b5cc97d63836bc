"""SEARCH in metric math: metrics by their dimensions and by words, as Grafana asks for them (pure).

`{AWS/Bedrock,ModelId} MetricName="Invocations" ModelId=("a" OR "b")`: a schema, then terms, all of
which must fit. What is quoted must be equal, what is not must be contained.
"""

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from outcrop.reporting.metric_math import Call, MathError, Number, Text, Tree, nodes
from outcrop.reporting.statistics import NAMESPACE
from outcrop.store.usage import MetricName

_DEFAULT_PERIOD_S = 300
_SCHEMA = re.compile(r"\s*\{([^{}]*)\}")
_VALUE = r"\"[^\"]*\"|[^\s()\"=]+"
_TERM = re.compile(
    rf"\s*(?:(?P<name>{_VALUE})\s*=\s*)?(?:(?P<value>{_VALUE})|\((?P<values>[^()]*)\))\s*"
)


class Term(Struct, frozen=True):
    name: str | None
    """Of a dimension, or MetricName; None: any of them."""
    values: tuple[str, ...]
    """One of which must fit; quoted ones still with their quotes."""


class Search(Struct, frozen=True, kw_only=True):
    namespace: str | None
    dimensions: frozenset[str] | None
    """All that a metric has. None: any."""
    terms: tuple[Term, ...]
    statistic: str
    period_s: int

    def fits(self, metric: MetricName) -> bool:
        names = {name for name, _ in metric.dimensions}
        if self.namespace not in (None, NAMESPACE) or self.dimensions not in (None, names):
            return False
        return all(_fits(term, metric) for term in self.terms)


def searches_in(trees: Iterable[Tree]) -> Iterator[tuple[Call, Search]]:
    """Every SEARCH of some expressions. Raises MathError."""
    for tree in trees:
        for node in nodes(tree):
            if isinstance(node, Call) and node.function == "SEARCH":
                yield node, _search(node)


def _search(call: Call) -> Search:
    match call.arguments:
        case (Text(text), Text(statistic)):
            period_s = _DEFAULT_PERIOD_S
        case (Text(text), Text(statistic), Number(period)):
            period_s = int(period)
        case _:
            raise MathError("SEARCH takes an expression, a statistic and a period")
    if period_s < 60 or period_s % 60:
        raise MathError("The period of SEARCH must be a multiple of 60")
    schema = _SCHEMA.match(text)
    names = [_unquoted(name) for name in schema[1].split(",")] if schema else []
    return Search(
        namespace=names[0] if names else None,
        dimensions=frozenset(names[1:]) if names else None,
        terms=tuple(_terms(text, schema.end() if schema else 0)),
        statistic=statistic,
        period_s=period_s,
    )


def _terms(text: str, at: int) -> Iterator[Term]:
    while text[at:].strip():
        found = _TERM.match(text, at)
        if found is None:
            raise MathError(f"SEARCH cannot read '{text[at:].strip()}'")
        at = found.end()
        name, value, values = found.group("name", "value", "values")
        if name is None and value in {"OR", "NOT"}:
            raise MathError(f"{value} between the terms of SEARCH is not supported")
        if name is None and value == "AND":
            continue
        choices = [value] if value else re.split(r"\s+OR\s+", (values or "").strip())
        yield Term(None if name is None else _unquoted(name), tuple(choices))


def _fits(term: Term, metric: MetricName) -> bool:
    known = [("Namespace", NAMESPACE), ("MetricName", metric.name), *metric.dimensions]
    texts = [value for name, value in known if term.name in (None, name)]
    return any(_is(value, text) for value in term.values for text in texts)


def _is(value: str, text: str) -> bool:
    if value.startswith('"'):
        return _unquoted(value) == text
    return value.casefold() in text.casefold()


def _unquoted(text: str) -> str:
    return text.strip().strip('"')
