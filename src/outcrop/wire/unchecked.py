"""What msgspec cannot check while it decodes: unions, and documents that pass through unparsed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from msgspec import DecodeError, Raw, inspect, json, structs

from outcrop.wire.json_size import holds_too_much
from outcrop.wire.shape import UnionShape

Check = Callable[[Any], bool]
"""True when the value is sound."""

# Far above what any tool's schema nests, far below where Python's stack ends.
_DEEPEST = 200


def check_of(input_type: type[Any]) -> Check | None:
    """None when there is nothing to check."""
    return _check(inspect.type_info(input_type))


def _check(info: inspect.Type) -> Check | None:  # noqa: PLR0911 - one return for each type
    match info:
        case inspect.Metadata(type=inner):
            return _check(inner)
        case inspect.UnionType(types=types):
            return next(filter(None, map(_check, types)), None)
        case inspect.StructType():
            return _check_union(info) if issubclass(info.cls, UnionShape) else _check_struct(info)
        case inspect.ListType(item_type=item):
            return _check_items(_check(item), list)
        case inspect.DictType(value_type=item):
            return _check_items(_check(item), dict[Any, Any].values)
        case inspect.RawType():
            return is_document
        case _:
            return None


def _check_items(check: Check | None, items: Callable[[Any], Any]) -> Check | None:
    return None if check is None else lambda values: all(map(check, items(values)))


def _check_union(info: inspect.StructType) -> Check:
    checks = [_check(field.type) for field in info.fields]
    checked = [(at, check) for at, check in enumerate(checks) if check is not None]
    documents = any(isinstance(field.type, inspect.RawType) for field in info.fields)

    def check_arm(value: Any) -> bool:
        arms = structs.astuple(value)
        if documents:
            arms = tuple(None if _is_absent(arm) else arm for arm in arms)
        if arms.count(None) != len(arms) - 1:
            return False
        for at, check in checked:
            if arms[at] is not None:
                return check(arms[at])
        return True

    return check_arm


def _check_struct(info: inspect.StructType) -> Check | None:
    checked = [(field, check) for field in info.fields if (check := _check(field.type))]
    members = [(f.name, check) for f, check in checked if not isinstance(f.type, inspect.RawType)]
    documents = [(f.name, f.required) for f, _ in checked if isinstance(f.type, inspect.RawType)]

    def check_members(value: Any) -> bool:
        for name, check in members:
            member = getattr(value, name)
            if member is not None and not check(member):
                return False
        for name, required in documents:  # noqa: SIM110 - a generator costs more than the look
            if not _settle_document(value, name, required=required):
                return False
        return True

    return check_members if checked else None


def _settle_document(value: Any, name: str, *, required: bool) -> bool:
    """Sound, or absent and allowed to be: then absent in one way only."""
    document: Raw = getattr(value, name)
    if not document:
        return not required
    if not _is_absent(document):
        return is_document(document)
    structs.force_setattr(value, name, Raw())
    return not required


def _is_absent(value: object) -> bool:
    """An absent document is an empty one; `null` counts as absent for them, too."""
    if isinstance(value, Raw):
        return not value or bytes(value) == b"null"
    return value is None


def is_document(raw: Raw) -> bool:
    """Also of JSON in a string, which nobody has counted the values of yet."""
    text = bytes(raw)
    if holds_too_much(text):
        return False
    try:
        document = json.decode(raw)
    except (DecodeError, RecursionError):
        return False
    return text.count(b"[") + text.count(b"{") <= _DEEPEST or _depth(document) <= _DEEPEST


def _depth(document: Any) -> int:
    """Without recursion: what reads the document later may have less stack left than we."""
    level, depth = [document], 0
    while level := [item for value in level for item in _items(value)]:
        depth += 1
    return depth


def _items(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return cast("Mapping[str, Any]", value).values()
        case list():
            return cast("Iterable[Any]", value)
        case _:
            return ()
