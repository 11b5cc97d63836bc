"""Words for a rejected input: Amazon's, for every constraint it violates, in one message."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self, TypeAlias, cast

from msgspec import Struct, inspect, structs

from outcrop.wire.errors import AwsError, SerializationException, ValidationException
from outcrop.wire.nodes import Node, TypeFaultError, node_of

# Enough for any honest mistake; a body of a million bad tags shall not become a million sentences,
# and a mistake after a million elements is not looked for.
_MOST_LISTED = 1000
_MOST_STEPS = 10_000
# Longer than any scalar's limit; and what the list may come to in all.
_LONGEST_PRINTED, _LONGEST_MESSAGE = 16 * 1024, 256 * 1024


class Violation(Struct, frozen=True):
    text: str
    stands_alone: bool = False
    """Bedrock's own sentence, which has no envelope when there is nothing else to say."""


Step: TypeAlias = Violation | None
"""One of a search for violations: what it finds, or nothing at one more element of a list."""


class Place(Struct, frozen=True):
    """Where a value stands, and whether it may be printed."""

    path: tuple[str | int, ...]
    hidden: bool

    def below(self, step: str | int) -> Self:
        return structs.replace(self, path=(*self.path, step))

    def violates(self, value: Any, constraint: str) -> Violation:
        # Coral counts from one: `messages.1.member.content`.
        path = ".".join(f"{s + 1}.member" if isinstance(s, int) else s for s in self.path)
        printed = "" if self.hidden else f" {_printed(value)}"
        return Violation(f"Value{printed} at '{path}' failed to satisfy constraint: {constraint}")

    def __str__(self) -> str:
        """`messages.0.content`: Bedrock's own sentences count from zero."""
        return ".".join(map(str, self.path))


class Inspector:
    """Says what is wrong with one operation's input.

    `outside`: what is not in the body, the name there → the member's name. `hide_body`: Amazon
    leaves the values of Converse's body out of its messages, but prints those of labels.
    """

    def __init__(
        self, input_type: type[Any], outside: Mapping[str, str], *, hide_body: bool
    ) -> None:
        self._members = node_of(inspect.type_info(input_type)).members
        self._outside = outside
        self._hide_body = hide_body

    def refusal(self, members: Mapping[str, Any]) -> AwsError:
        try:
            found = list(_bounded(self._violations(members)))
        except TypeFaultError as fault:
            return SerializationException(str(fault))
        except RecursionError:  # a value to be printed, nested as deep as JSON may
            return SerializationException("The request body could not be read.")
        match found:
            case []:
                return SerializationException("The request body could not be read.")
            case [Violation(stands_alone=True) as violation]:
                return ValidationException(f"{violation.text}.")
            case _:
                errors = "error" if len(found) == 1 else "errors"
                texts = "; ".join(violation.text for violation in found)
                return ValidationException(f"{len(found)} validation {errors} detected: {texts}")

    def _violations(self, members: Mapping[str, Any]) -> Iterator[Step]:
        for name, required, node in self._members:
            hidden = self._hide_body and name not in self._outside
            place = Place((self._outside.get(name, _in_camel(name)),), hidden)
            yield from _member(node, members.get(name), place, required=required)


def _member(node: Node, value: Any, place: Place, *, required: bool = True) -> Iterator[Step]:
    if value is not None:
        yield from _value(node, value, place)
    elif required:
        yield place.violates(None, "Member must not be null")


def _value(node: Node, json_value: Any, place: Place) -> Iterator[Step]:
    value = node.convert(json_value)
    if node.sensitive:
        place = structs.replace(place, hidden=True)
    for constraint in node.constraints:
        if not constraint.holds(value):
            yield place.violates(value, constraint.text)
    if node.name:
        yield from _structure(node, value, place)
    if node.key is not None:
        keys = ((key, key) for key in value)
        yield from _elements(node.key, keys, place, value, "Map keys")
    if node.item is not None:
        items = enumerate(value) if node.key is None else value.items()
        word = "Member" if node.key is None else "Map value"
        yield from _elements(node.item, items, place, value, word)


def _structure(node: Node, value: dict[str, Any], place: Place) -> Iterator[Step]:
    if node.union:
        yield from _union(node, value, place)
    for name, required, member in node.members:
        below = place.below(_in_camel(name))
        yield from _member(member, value.get(name), below, required=required)


def _in_camel(name: str) -> str:
    """Coral speaks of `timePeriod.start`, also where the wire has `TimePeriod`."""
    return name[0].lower() + name[1:]


def _union(node: Node, value: dict[str, Any], place: Place) -> Iterator[Step]:
    names = [name for name, _, _ in node.members]
    present = [name for name in names if value.get(name) is not None]
    if len(present) != 1:
        only = "only " if present else ""
        text = f"must set {only}one of the following keys: {', '.join(names)}"
        yield Violation(f"{node.name} object at {place} {text}", stands_alone=True)


def _elements(
    node: Node, elements: Iterable[tuple[str | int, Any]], place: Place, whole: Any, word: str
) -> Iterator[Step]:
    """Structures are found fault with one by one, scalars through the list or map they are in."""
    sound = True
    for step, value in elements:
        yield None
        if node.name or value is None:
            yield from _member(node, value, place.below(step))
        else:
            typed = node.convert(value)
            sound = sound and all(constraint.holds(typed) for constraint in node.constraints)
    if not sound:
        listed = ", ".join(constraint.text for constraint in node.constraints)
        yield place.violates(whole, f"{word} must satisfy constraint: [{listed}]")


def _bounded(steps: Iterator[Step]) -> Iterator[Violation]:
    """As many as a message holds; the first, in any case."""
    length = 0
    violations = filter(None, islice(steps, _MOST_STEPS))
    for violation in islice(violations, _MOST_LISTED):
        yield violation
        length += len(violation.text)
        if length > _LONGEST_MESSAGE:
            return


def _printed(value: Any) -> str:
    if value is None:
        return _java(value)
    text = _java(value)
    return f"'{text}'" if len(text) <= _LONGEST_PRINTED else f"'{text[:_LONGEST_PRINTED]}…'"


def _java(value: Any) -> str:
    """As Java's toString prints it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            pairs = cast("Mapping[str, Any]", value).items()
            return f"{{{', '.join(f'{key}={_java(item)}' for key, item in pairs)}}}"
        case list():
            return f"[{', '.join(map(_java, cast('Iterable[Any]', value)))}]"
        case _:
            return str(value)
