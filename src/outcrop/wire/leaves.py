"""Scalars that a protocol writes in its own way, found by the type of the member they stand in."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from msgspec import inspect

from outcrop.wire import scalars
from outcrop.wire.errors import SerializationException
from outcrop.wire.nodes import plain

Reader = Callable[[Any], Any]
Leaves = Mapping[type[inspect.Type], Reader]
"""What reads a scalar of which type. Types that are not named stay as they are."""

# Far above what any input nests, far below where Python's stack ends.
DEEPEST = 100


def read(info: inspect.Type, value: Any, leaves: Leaves, depth: int = DEEPEST) -> Any:
    """`value` with every scalar read. What does not fit its type stays, for `violations` to see."""
    if depth == 0:
        raise SerializationException("The request body is nested too deeply.")
    match plain(info), value:
        case inspect.StructType(fields=fields), dict():
            types = {f.encode_name: f.type for f in fields}
            members = cast("Mapping[str, Any]", value)
            return {
                name: read(types[name], item, leaves, depth - 1)
                for name, item in members.items()
                if name in types
            }
        case inspect.ListType(item_type=item_type), list():
            items = cast("Iterable[Any]", value)
            return [read(item_type, item, leaves, depth - 1) for item in items]
        case bare, str() | int() | float() if type(bare) in leaves:
            return leaves[type(bare)](value)
        case _:
            return value


def written(value: Any, write: Callable[[datetime], Any]) -> Any:
    """`value` with every moment written."""
    match value:
        case dict():
            members = cast("Mapping[str, Any]", value)
            return {name: written(item, write) for name, item in members.items()}
        case list():
            return [written(item, write) for item in cast("Iterable[Any]", value)]
        case datetime():
            return write(value)
        case _:
            return value


def moment(value: Any) -> datetime:
    """From seconds since 1970, or ISO 8601."""
    moment = scalars.timestamp(format(value, "f") if isinstance(value, float) else str(value))
    assert isinstance(moment, datetime)
    return moment
