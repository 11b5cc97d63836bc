"""From a method and a raw path to the operation they address, and the labels in the path."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Generic, TypeVar
from urllib.parse import unquote

from msgspec import Struct

from outcrop.wire.http import HttpResponse

KeyT = TypeVar("KeyT")


class Route(Struct, Generic[KeyT], frozen=True):
    key: KeyT
    literals: tuple[tuple[int, str], ...]
    """Position and text of the path's fixed segments."""
    labels: tuple[tuple[int, str], ...]
    """Position and name of the others."""


_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Routes(Generic[KeyT]):
    """Every operation known: what is looked up, its method, its URI as in the service model."""

    def __init__(self, rows: Iterable[tuple[KeyT, str, str]]) -> None:
        self._plain: dict[tuple[str, str], tuple[KeyT, Mapping[str, str]]] = {}
        self._routes: dict[tuple[str, str, int], list[Route[KeyT]]] = {}
        for key, method, uri in rows:
            if "{" not in uri:
                self._plain[method, uri] = key, _NO_LABELS
                continue
            segments = uri.split("/")
            route = _route(key, segments)
            self._routes.setdefault((method, segments[1], len(segments)), []).append(route)
        for routes in self._routes.values():
            routes.sort(key=lambda route: len(route.labels))
        # The same few models are asked for again and again.
        self.match = lru_cache(maxsize=256)(self._match)
        """`match(method, raw_path)`: None when nothing is addressed, which is an unknown path, or
        a known one by another method.

        The path is split before it is decoded, once: an ARN's slash arrives as `%2F`.
        """

    def _match(self, method: str, raw_path: str) -> tuple[KeyT, Mapping[str, str]] | None:
        plain = self._plain.get((method, raw_path))
        if plain is not None:
            return plain
        segments = raw_path.split("/")
        if len(segments) < 2:
            return None
        for route in self._routes.get((method, segments[1], len(segments)), ()):
            if _leads(route, segments):
                return route.key, {name: unquote(segments[at]) for at, name in route.labels}
        return None


def _leads(route: Route[KeyT], segments: list[str]) -> bool:
    for at, text in route.literals:
        if segments[at] != text:
            return False
    # No label is empty.
    return "" not in [segments[at] for at, _ in route.labels]


def _route(key: KeyT, segments: list[str]) -> Route[KeyT]:
    literals = [(at, text) for at, text in enumerate(segments) if not text.startswith("{")]
    labels = [(at, text[1:-1]) for at, text in enumerate(segments) if text.startswith("{")]
    return Route(key, tuple(literals), tuple(labels))


def unknown_operation() -> HttpResponse:
    """What Amazon answers where no operation is: 200, and this document."""
    return HttpResponse(
        status=200,
        headers={"content-type": "application/json"},
        body=(
            b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},'
            b'"Version":"1.0"}'
        ),
    )
