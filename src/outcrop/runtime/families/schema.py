"""Native bodies read strictly, and words for those that break their family's schema."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta, Raw, inspect

from outcrop.wire.errors import ValidationException
from outcrop.wire.json_size import MOST_VALUES, holds_too_much
from outcrop.wire.unchecked import is_document

BodyT = TypeVar("BodyT", bound=msgspec.Struct)

StopSequence = Annotated[str, Meta(min_length=1)]
"""As Converse's: an empty one would be met before the first word."""

# Enough for any honest mistake; one after ten thousand elements is not looked for.
_MOST_LISTED = 100
_LONGEST = 500
_MOST_STEPS = 10_000

Step: TypeAlias = str | None
"""One of a search for violations: what it finds, or nothing at one more element of a list."""

_Path = tuple[str | int, ...]

# As Amazon's validator (everit-org/json-schema) calls them.
_FOUND: Mapping[type, str] = {
    bool: "Boolean",
    int: "Integer",
    float: "BigDecimal",
    Decimal: "BigDecimal",
    str: "String",
    list: "JSONArray",
    dict: "JSONObject",
    type(None): "Null",
}

_SCALARS: Mapping[type[inspect.Type], tuple[str, tuple[type, ...]]] = {
    inspect.BoolType: ("Boolean", (bool,)),
    inspect.IntType: ("Integer", (int,)),
    inspect.FloatType: ("Number", (int, float)),
    inspect.StrType: ("String", (str,)),
    inspect.BytesType: ("String", (str,)),
    inspect.NoneType: ("Null", (type(None),)),
    inspect.ListType: ("JSONArray", (list,)),
    inspect.VarTupleType: ("JSONArray", (list,)),
    inspect.DictType: ("JSONObject", (dict,)),
    inspect.StructType: ("JSONObject", (dict,)),
}


def malformed(*violations: str) -> ValidationException:
    """`#/max_tokens: expected type: Integer, found: String` and the like."""
    listed = f": {', '.join(map(_shortened, violations))}" if violations else ""
    return ValidationException(
        f"Malformed input request{listed}, please reformat your input and try again."
    )


def _shortened(violation: str) -> str:
    """It may quote a value or a key of the caller's, of any length."""
    return violation if len(violation) <= _LONGEST else f"{violation[:_LONGEST]}…"


class Schema(Generic[BodyT]):
    """One family's body. What is wrong with one is only looked for when msgspec refuses it."""

    def __init__(self, body_type: type[BodyT]) -> None:
        self._decoder = msgspec.json.Decoder(body_type)
        self._type = inspect.type_info(body_type)

    def decode(self, body: bytes, *path: str | int) -> BodyT:
        """Raises ValidationException; `path` says where in the caller's body it stands."""
        if holds_too_much(body):
            raise malformed(f"#: expected maximum value count: {MOST_VALUES}")
        try:
            if not body.isascii():
                body.decode()
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._refusal(body, path) from None

    def _refusal(self, body: bytes, path: _Path) -> ValidationException:
        try:
            value = msgspec.json.decode(body)
            steps = islice(_violations(self._type, value, path), _MOST_STEPS)
            return malformed(*islice(filter(None, steps), _MOST_LISTED))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return malformed()


def document(raw: Raw, *path: str | int) -> Raw:
    """Free JSON of the caller, found fit to be read again."""
    if not is_document(raw):
        raise malformed(f"{_pointer(path)}: expected type: JSONObject, found: String")
    return raw


def json_object(raw: Raw, *path: str | int) -> Raw:
    """The same, and an object at that."""
    document(raw, *path)
    if not bytes(raw).lstrip().startswith(b"{"):
        found = _FOUND[type(msgspec.json.decode(raw))]
        raise malformed(f"{_pointer(path)}: expected type: JSONObject, found: {found}")
    return raw


def _violations(info: inspect.Type, value: Any, path: _Path) -> Iterator[Step]:
    match info:
        case inspect.Metadata(type=inner):
            yield from _violations(inner, value, path)
        case inspect.AnyType() | inspect.RawType():
            return
        case inspect.UnionType(types=types):
            yield from _union(types, value, path)
        case inspect.LiteralType(values=values):
            if value not in values:
                yield f"{_pointer(path)}: {_printed(value)} is not a valid enum value"
        case _:
            yield from _typed(info, value, path)


def _typed(info: inspect.Type, value: Any, path: _Path) -> Iterator[Step]:
    if not _fits(info, value):
        expected = _SCALARS[type(info)][0]
        yield f"{_pointer(path)}: expected type: {expected}, found: {_FOUND[type(value)]}"
        return
    match info:
        case inspect.StructType():
            yield from _structure(info, value, path)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from _size(info, value, path, "item count")
            yield from _elements(item, enumerate(cast("list[Any]", value)), path)
        case inspect.DictType(value_type=item):
            yield from _elements(item, value.items(), path)
        case inspect.StrType():
            yield from _size(info, value, path, "length")
            yield from _pattern(info, value, path)
        case inspect.BytesType():
            yield from _base64(value, path)
        case inspect.IntType() | inspect.FloatType():
            yield from _range(info, value, path)
        case _:
            return


def _elements(
    info: inspect.Type, elements: Iterable[tuple[str | int, Any]], path: _Path
) -> Iterator[Step]:
    for step, value in elements:
        yield None
        yield from _violations(info, value, (*path, step))


def _structure(info: inspect.StructType, value: dict[str, Any], path: _Path) -> Iterator[Step]:
    for field in info.fields:
        if field.required and field.encode_name not in value:
            yield f"{_pointer(path)}: required key [{field.encode_name}] not found"
    if info.tag_field in value and value[info.tag_field] != info.tag:
        tag = _printed(value[info.tag_field])
        yield f"{_pointer((*path, info.tag_field))}: {tag} is not a valid enum value"
    known = {field.encode_name for field in info.fields} | {info.tag_field}
    if info.forbid_unknown_fields:
        for name in (name for name in value if name not in known):
            yield f"{_pointer(path)}: extraneous key [{name}] is not permitted"
    for field in info.fields:
        if field.encode_name in value:
            member = value[field.encode_name]
            yield from _violations(field.type, member, (*path, field.encode_name))


def _union(types: Sequence[inspect.Type], value: Any, path: _Path) -> Iterator[Step]:
    """By its tag, or by the one arm of the value's own kind."""
    tagged = [bare for arm in types if isinstance(bare := _bare(arm), inspect.StructType)]
    if isinstance(value, dict) and len(tagged) > 1:
        yield from _tagged(tagged, cast("dict[str, Any]", value), path)
        return
    fitting = [arm for arm in types if _fits(_bare(arm), value)]
    named = [arm for arm in types if not isinstance(_bare(arm), inspect.NoneType)]
    if fitting:
        yield from _violations(fitting[0], value, path)
    elif len(named) == 1:
        yield from _violations(named[0], value, path)
    else:
        count = len(named)
        yield f"{_pointer(path)}: no subschema matched out of the total {count} subschemas"


def _tagged(
    arms: Sequence[inspect.StructType], value: dict[str, Any], path: _Path
) -> Iterator[Step]:
    tag_field = arms[0].tag_field or "type"
    if tag_field not in value:
        yield f"{_pointer(path)}: required key [{tag_field}] not found"
        return
    tag = value[tag_field]
    arm = next((arm for arm in arms if arm.tag == tag), None)
    if arm is None:
        yield f"{_pointer((*path, tag_field))}: {_printed(tag)} is not a valid enum value"
    else:
        yield from _structure(arm, value, path)


def _size(info: Any, value: Any, path: _Path, what: str) -> Iterator[Step]:
    if info.min_length is not None and len(value) < info.min_length:
        yield f"{_pointer(path)}: {_too_small(what, info.min_length, len(value))}"
    if info.max_length is not None and len(value) > info.max_length:
        yield f"{_pointer(path)}: {_too_large(what, info.max_length, len(value))}"


def _pattern(info: inspect.StrType, value: str, path: _Path) -> Iterator[Step]:
    if info.pattern is not None and re.search(info.pattern, value) is None:
        yield f"{_pointer(path)}: string [{value}] does not match pattern {info.pattern}"


def _base64(value: str, path: _Path) -> Iterator[Step]:
    try:
        msgspec.convert(value, bytes)
    except msgspec.ValidationError:
        yield f"{_pointer(path)}: string is not a valid base64"


def _too_small(what: str, limit: int, actual: int) -> str:
    if what == "length":
        return f"expected minLength: {limit}, actual: {actual}"
    return f"expected minimum item count: {limit}, found: {actual}"


def _too_large(what: str, limit: int, actual: int) -> str:
    if what == "length":
        return f"expected maxLength: {limit}, actual: {actual}"
    return f"expected maximum item count: {limit}, found: {actual}"


def _range(info: Any, value: float, path: _Path) -> Iterator[Step]:
    bounds: tuple[tuple[float | None, Callable[[float], bool], str], ...] = (
        (info.ge, lambda bound: value >= bound, "greater or equal to"),
        (info.gt, lambda bound: value > bound, "greater than"),
        (info.le, lambda bound: value <= bound, "less or equal to"),
        (info.lt, lambda bound: value < bound, "less than"),
    )
    for bound, holds, words in bounds:
        if bound is not None and not holds(bound):
            yield f"{_pointer(path)}: {value} is not {words} {bound}"


def _fits(info: inspect.Type, value: Any) -> bool:
    if isinstance(info, inspect.LiteralType | inspect.AnyType | inspect.RawType):
        return not isinstance(info, inspect.LiteralType) or value in info.values
    _, types = _SCALARS[type(info)]
    # In Python True is an integer.
    return isinstance(value, types) and (not isinstance(value, bool) or bool in types)


def _bare(info: inspect.Type) -> inspect.Type:
    return _bare(info.type) if isinstance(info, inspect.Metadata) else info


def _pointer(path: Sequence[str | int]) -> str:
    return "/".join(["#", *map(str, path)])


def _printed(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
