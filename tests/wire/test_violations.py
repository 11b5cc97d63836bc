"""Every constraint of every served operation, violated: refused in Amazon's words.

The faults and the words expected are derived from botocore's model, not from our shapes.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from botocore.model import Shape
from msgspec import json

from outcrop.wire.errors import AwsError, ValidationException
from outcrop.wire.http import HttpRequest
from tests.wire.model import (
    AnyOperation,
    constraint,
    fullest,
    matches,
    modelled,
    name_of,
    served,
    smallest,
    text_of,
)

MOST_PRINTED = 16 * 1024
"""Of a value that is wrong; ours."""
HELD_BY_HANDLERS = {"ServiceTierType"}
"""What tools/model-patches.json lifts."""


class Fault(NamedTuple):
    value: Any
    """In place of the sound one; ABSENT for a member left out."""
    items: tuple[str, ...]
    """What the message must list, and nothing else."""
    alone: str | None = None
    """The whole message, where Bedrock has a sentence of its own."""


ABSENT = object()


class Where(NamedTuple):
    path: str
    """As Coral counts: from one, with `member`."""
    sentence: str
    """As Bedrock's own sentences count: from zero."""
    hidden: bool

    def member(self, name: str) -> "Where":
        path, sentence = f"{self.path}.{name}".lstrip("."), f"{self.sentence}.{name}".lstrip(".")
        return Where(path, sentence, self.hidden)

    def first(self) -> "Where":
        return Where(f"{self.path}.1.member", f"{self.sentence}.0", self.hidden)

    def item(self, value: Any, constraint: str) -> str:
        text = java(value)
        text = text if len(text) <= MOST_PRINTED else f"{text[:MOST_PRINTED]}…"
        printed = "null" if value is None else f"'{text}'"
        shown = "" if self.hidden else f" {printed}"
        return f"Value{shown} at '{self.path}' failed to satisfy constraint: {constraint}"


def java(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(java, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java(item)}" for key, item in value.items()) + "}"
    return str(value)


def faults(shape: Shape, where: Where) -> Iterator[Fault]:
    if constraint(shape, "sensitive"):
        where = where._replace(hidden=True)
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            pass
        case "structure":
            yield from structure_faults(shape, where)
        case "list":
            yield from length_faults(shape, where, fullest(shape.member))
            yield from list_faults(shape, where)
        case "map":
            yield from map_faults(shape, where)
        case _:
            for value in unsound(shape):
                found = tuple(where.item(value, text) for text in violated(shape, value))
                yield Fault(value, found)


def structure_faults(shape: Shape, where: Where) -> Iterator[Fault]:
    if shape.is_tagged_union:
        yield from union_faults(shape, where)
    whole = fullest(shape)
    for name, member in shape.members.items():
        sound = {name: fullest(member)} if shape.is_tagged_union else whole
        if name in shape.required_members:
            text = where.member(name).item(None, "Member must not be null")
            yield Fault({**sound, name: ABSENT}, (text,))
        for fault in faults(member, where.member(name)):
            yield fault._replace(value={**sound, name: fault.value})


def union_faults(shape: Shape, where: Where) -> Iterator[Fault]:
    names = [*shape.members]
    keys = f"one of the following keys: {', '.join(names)}"
    wrong = {"": {}, "only ": {name: fullest(shape.members[name]) for name in names[:2]}}
    for only, value in wrong.items():
        if only and len(names) == 1:
            continue
        text = f"{shape.name} object at {where.sentence} must set {only}{keys}"
        yield Fault(value, (text,), alone=f"{text}.")


def length_faults(shape: Shape, where: Where, element: Any) -> Iterator[Fault]:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    if low:
        value = [element] * (low - 1)
        yield Fault(
            value,
            (where.item(value, f"Member must have length greater than or equal to {low}"),),
        )
    if high is not None:
        value = [element] * (high + 1)
        yield Fault(
            value, (where.item(value, f"Member must have length less than or equal to {high}"),)
        )


def list_faults(shape: Shape, where: Where) -> Iterator[Fault]:
    sound = fullest(shape.member)
    yield Fault([None], (where.first().item(None, "Member must not be null"),))
    if shape.member.type_name == "structure":
        for fault in faults(shape.member, where.first()):
            yield fault._replace(value=[fault.value, sound])
        return
    listed = f"Member must satisfy constraint: [{', '.join(all_constraints(shape.member))}]"
    for value in unsound(shape.member):
        yield Fault([sound, value], (where.item([sound, value], listed),))


def map_faults(shape: Shape, where: Where) -> Iterator[Fault]:
    key, sound = text_of(shape.key), fullest(shape.value)
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    if low:
        yield Fault(
            {}, (where.item({}, f"Member must have length greater than or equal to {low}"),)
        )
    if high is not None:
        value = {f"k{number}": sound for number in range(high + 1)}
        text = where.item(value, f"Member must have length less than or equal to {high}")
        yield Fault(value, (text,))
    keys = f"Map keys must satisfy constraint: [{', '.join(all_constraints(shape.key))}]"
    for wrong in unsound(shape.key):
        yield Fault({wrong: sound}, (where.item({wrong: sound}, keys),))
    if shape.value.type_name == "structure":
        for fault in faults(shape.value, where.member(key)):
            yield fault._replace(value={key: fault.value})
        return
    values = f"Map value must satisfy constraint: [{', '.join(all_constraints(shape.value))}]"
    for wrong in unsound(shape.value):
        yield Fault({key: wrong}, (where.item({key: wrong}, values),))


def unsound(shape: Shape) -> Iterator[Any]:
    """Values that violate the shape's constraints, as few of them at a time as can be."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "string" if shape.name in HELD_BY_HANDLERS:
            return
        case "string" if shape.metadata.get("enum"):
            yield "nonsense"
            yield ""
        case "string":
            yield from unsound_strings(shape)
        case "blob":
            yield from [b"x" * (low - 1)] if low else []
        case _:
            yield from [low - 1] if low is not None else []
            yield from [high + 1] if high is not None else []


def unsound_strings(shape: Shape) -> Iterator[str]:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    sound = text_of(shape)
    if low:
        yield sound[: low - 1]
    if high is not None:
        yield sound + "a" * (high + 1 - len(sound))
        yield "é" * (high + 1)
    wrong = [sound + tail for tail in ("\n", "!", " ", "é", "\x00", "\xa0", "\u2028")]
    for value in [*wrong, f" {sound}", "\n", f"{sound}\n{sound}"]:
        if len(value) >= low and (high is None or len(value) <= high):
            yield from [] if matches(shape, value) else [value]


def violated(shape: Shape, value: Any) -> list[str]:
    return [text for text in all_constraints(shape) if not holds(shape, text, value)]


def all_constraints(shape: Shape) -> list[str]:
    """In Amazon's order: largest, smallest, pattern."""
    kind = "length" if shape.type_name in ("string", "blob") else "value"
    texts = []
    if shape.metadata.get("enum"):
        texts.append(f"enum value set: [{', '.join(sorted(shape.metadata['enum']))}]")
        return [f"Member must satisfy {text}" for text in texts]
    if "max" in shape.metadata:
        texts.append(f"have {kind} less than or equal to {shape.metadata['max']}")
    if "min" in shape.metadata:
        texts.append(f"have {kind} greater than or equal to {shape.metadata['min']}")
    if constraint(shape, "pattern"):
        texts.append(f"satisfy regular expression pattern: {constraint(shape, 'pattern')}")
    return [f"Member must {text}" for text in texts]


def holds(shape: Shape, text: str, value: Any) -> bool:
    if "pattern:" in text:
        return matches(shape, value)
    if "enum" in text:
        return value in shape.metadata["enum"]
    size = len(value) if "length" in text else value
    limit = float(text.rsplit(maxsplit=1)[-1])
    return bool(size <= limit if "less than" in text else size >= limit)


def without_absent(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_absent(item) for k, item in value.items() if item is not ABSENT}
    if isinstance(value, list):
        return [without_absent(item) for item in value]
    return value


def refusal(operation: AnyOperation, parameters: dict[str, Any]) -> AwsError:
    """Written by hand: botocore's serializer writes nothing so wrong."""
    locations = ("uri", "querystring", "header", None)
    parts: dict[str | None, dict[str, Any]] = {location: {} for location in locations}
    payload = modelled(operation).input_shape.serialization.get("payload")
    for name, value in without_absent(parameters).items():
        place = modelled(operation).input_shape.members[name].serialization
        parts[place.get("location")][place.get("name", name)] = value
    request = HttpRequest(
        method=operation.method,
        raw_path="/",
        query_string=urlencode(parts["querystring"]),
        headers={name.lower(): value for name, value in parts["header"].items()},
        body=parts[None].get(payload, b"") if payload else json.encode(parts[None]),
    )
    with pytest.raises(AwsError) as caught:
        operation.decode(request, parts["uri"])
    return caught.value


def top_level_faults(operation: AnyOperation) -> Iterator[tuple[str, Fault]]:
    shape = modelled(operation).input_shape
    for name, member in shape.members.items():
        outside = "location" in member.serialization
        hidden = operation.service == "bedrock-runtime" and not outside
        where = Where(name, name, hidden)
        for fault in faults(member, where):
            yield name, fault
        if name in shape.required_members and not outside:
            yield name, Fault(ABSENT, (where.item(None, "Member must not be null"),))


CASES = [
    pytest.param(operation, name, fault, id=f"{operation.name}-{name}-{number}")
    for operation in served()
    for number, (name, fault) in enumerate(top_level_faults(operation))
]


@pytest.mark.parametrize(("operation", "name", "fault"), CASES)
def test_a_violated_constraint_is_refused_in_amazons_words(
    operation: AnyOperation, name: str, fault: Fault
) -> None:
    sound = smallest(modelled(operation).input_shape)

    error = refusal(operation, {**sound, name: fault.value})

    assert isinstance(error, ValidationException)
    assert error.status == 400
    assert error.message == fault.alone or listed(error.message) == sorted(fault.items)


def listed(message: str) -> list[str]:
    count, _, texts = message.partition(": ")
    items = re.split(r"; (?=Value|\w+ object at )", texts)
    errors = "error" if len(items) == 1 else "errors"
    assert count == f"{len(items)} validation {errors} detected"
    return sorted(items)


@pytest.mark.parametrize("operation", served(), ids=name_of)
def test_two_violations_are_listed_together(operation: AnyOperation) -> None:
    sound = smallest(modelled(operation).input_shape)
    simple = {n: f for n, f in top_level_faults(operation) if len(f.items) == 1 and not f.alone}

    for (one, first), (two, second) in combinations(simple.items(), 2):
        error = refusal(operation, {**sound, one: first.value, two: second.value})

        assert error.message.startswith("2 validation errors detected: ")
        assert listed(error.message) == sorted(first.items + second.items)


def test_hundreds_of_constraints_were_derived() -> None:
    assert len(CASES) > 1000
    asked_something = {o.name for o in served() if o.input_type.__struct_fields__}
    assert {str(case.id).split("-")[0] for case in CASES} == asked_something
