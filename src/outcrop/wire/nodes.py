"""An input type as a tree: what each value must be, for whoever words a refusal."""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from msgspec import Struct, inspect

from outcrop.wire.constraints import INT32, INT64, Constraint, constraints_of
from outcrop.wire.shape import UnionShape


class TypeFaultError(Exception):
    """A value of another type than the model's: Amazon says so before it looks at constraints."""


class Node(Struct, frozen=True):
    """A member, element or entry: its own constraints, and the nodes below."""

    name: str
    """The structure's, for a structure."""
    convert: Callable[[Any], Any]
    """From JSON to what the constraints speak of. Raises TypeFaultError."""
    constraints: tuple[Constraint, ...]
    sensitive: bool
    union: bool
    members: Sequence[tuple[str, bool, "Node"]] = ()
    """Of a structure: name, required, node."""
    key: "Node | None" = None
    item: "Node | None" = None
    """Of a list or a map."""


_Members = Mapping[type[Any], Sequence[tuple[str, bool, Node]]]


def node_of(info: inspect.Type) -> Node:
    return _node(info, {})


def _node(info: inspect.Type, above: _Members) -> Node:
    bare = plain(info)
    name, union, key, item = "", False, None, None
    members: Sequence[tuple[str, bool, Node]] = ()
    match bare:
        case inspect.StructType(cls=cls):
            members = _members(bare, above)
            union, name = issubclass(cls, UnionShape), cls.__name__
        case inspect.ListType(item_type=item_type):
            item = _node(item_type, above)
        case inspect.DictType(key_type=key_type, value_type=value_type):
            key, item = _node(key_type, above), _node(value_type, above)
        case _:
            pass
    return Node(
        name=name,
        convert=_typed(bare),
        constraints=tuple(constraints_of(bare)),
        sensitive=_is_sensitive(info),
        union=union,
        members=members,
        key=key,
        item=item,
    )


def _members(info: inspect.StructType, above: _Members) -> Sequence[tuple[str, bool, Node]]:
    """A structure within itself has the members of the outer one, which are not known yet."""
    if info.cls in above:
        return above[info.cls]
    members: list[tuple[str, bool, Node]] = []
    within = {**above, info.cls: members}
    members.extend((f.encode_name, f.required, _node(f.type, within)) for f in info.fields)
    return members


def plain(info: inspect.Type) -> inspect.Type:
    """The type itself, without `| None` and annotations."""
    match info:
        case inspect.Metadata(type=inner):
            return plain(inner)
        case inspect.UnionType(types=types):
            return plain(next(t for t in types if not isinstance(t, inspect.NoneType)))
        case _:
            return info


def _is_sensitive(info: inspect.Type) -> bool:
    match info:
        case inspect.Metadata():
            extra: Mapping[str, Any] | None = cast("Any", info).extra
            return bool(extra and extra.get("sensitive"))
        case inspect.UnionType(types=types):
            return any(map(_is_sensitive, types))
        case _:
            return False


def _typed(info: inspect.Type) -> Callable[[Any], Any]:
    expected, name = _EXPECTED[type(info)]

    def convert(value: Any) -> Any:
        if isinstance(value, expected) and (expected is bool or not isinstance(value, bool)):
            return value
        raise TypeFaultError(_mismatch(value, name))

    match info:
        case inspect.IntType(le=largest):
            return lambda value: _fits(convert(value), INT64 if largest == INT64[1] else INT32)
        case inspect.BytesType():
            return lambda value: _from_base64(convert(value))
        case inspect.RawType():
            return lambda value: value
        case _:
            return convert


def _fits(value: int, limits: tuple[int, int]) -> int:
    if limits[0] <= value <= limits[1]:
        return value
    raise TypeFaultError(_mismatch(value, "an Integer"))


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise TypeFaultError(_mismatch(text, "a Blob")) from None


def _mismatch(value: Any, expected: str) -> str:
    match value:
        case dict():
            return "Start of structure or map found where not expected."
        case list():
            return "Start of list found where not expected."
        case True:
            found = "TRUE_VALUE"
        case False:
            found = "FALSE_VALUE"
        case str():
            found = "STRING_VALUE"
        case float():
            found = "DECIMAL_VALUE"
        case _:
            found = "NUMBER_VALUE"
    return f"{found} can not be converted to {expected}"


_EXPECTED: Mapping[type[inspect.Type], tuple[type | tuple[type, ...], str]] = {
    inspect.StrType: (str, "a String"),
    inspect.LiteralType: (str, "a String"),
    inspect.IntType: (int, "an Integer"),
    inspect.FloatType: ((int, float), "a Float"),
    inspect.BoolType: (bool, "a Boolean"),
    inspect.DateTimeType: (datetime, "a Timestamp"),
    inspect.BytesType: (str, "a Blob"),
    inspect.StructType: (dict, "a structure"),
    inspect.ListType: (list, "a list"),
    inspect.DictType: (dict, "a map"),
    inspect.RawType: (object, "a document"),
}
