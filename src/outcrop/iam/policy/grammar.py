"""The grammar of a policy document: which elements there are, and what form each has."""

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from outcrop.iam.policy.duplicates import said_twice
from outcrop.wire.errors import MalformedPolicyDocument

MOST_CHARACTERS = 131_072
"""White space included (IAM's policyDocumentType)."""

# IAM's policyDocumentType; Bedrock's ResourcePolicyDocument says the same.
_ALLOWED = re.compile(r"[\t\n\r\u0020-\u00ff]*")
_WHITE_SPACE = re.compile(r"\s")
_SYNTAX = "Syntax errors in policy."
_MOST_SAID = 400

Texts: TypeAlias = str | list[str]
Scalar: TypeAlias = str | bool | int | float
PrincipalKind: TypeAlias = Literal["AWS", "Federated", "Service", "CanonicalUser"]
PrincipalElement: TypeAlias = Literal["*"] | dict[PrincipalKind, Texts]


class Statement(Struct, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    """As written. What is absent is UNSET, for null is no value."""

    effect: str
    sid: str | UnsetType = UNSET
    principal: PrincipalElement | UnsetType = UNSET
    not_principal: PrincipalElement | UnsetType = UNSET
    action: Texts | UnsetType = UNSET
    not_action: Texts | UnsetType = UNSET
    resource: Texts | UnsetType = UNSET
    not_resource: Texts | UnsetType = UNSET
    condition: dict[str, dict[str, Scalar | list[Scalar]]] | UnsetType = UNSET


class Document(Struct, rename="pascal", forbid_unknown_fields=True, kw_only=True):
    statement: Statement | list[Statement]
    version: Literal["2008-10-17", "2012-10-17"] | UnsetType = UNSET
    id: str | UnsetType = UNSET

    @property
    def statements(self) -> list[tuple[str, Statement]]:
        """Each with its place."""
        if isinstance(self.statement, Statement):
            return [("$.Statement", self.statement)]
        return [(f"$.Statement[{i}]", found) for i, found in enumerate(self.statement)]


class Element(Struct, frozen=True, kw_only=True):
    """What `Action` or `NotAction` lists, or `Resource` or `NotResource`."""

    place: str
    values: tuple[tuple[str, str], ...]
    """Each with its place."""
    excluded: bool
    """Whether it is the one with Not."""


class ConditionElement(Struct, frozen=True, kw_only=True):
    """One key under one operator, with the values of the policy."""

    place: str
    operator: str
    key: str
    values: tuple[str, ...]


def malformed(words: str, place: str, reason: str = "") -> MalformedPolicyDocument:
    """Amazon's words, then ours: why, and where."""
    because = f" {_short(reason)}" if reason else ""
    return MalformedPolicyDocument(f"{_short(words)}{because} - at `{_short(place)}`")


def decoded(text: str, *, most_characters: int) -> Document:
    """Raises MalformedPolicyDocument. `most_characters` does not count white space."""
    _check_text(text, most_characters)
    try:
        document = msgspec.json.decode(text, type=Document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedPolicyDocument(_short(f"{_SYNTAX} {error}")) from error
    place = said_twice(text)
    if place is not None:
        raise malformed(_SYNTAX, place, "An element is given twice")
    _check_grammar(document)
    return document


def actions(place: str, statement: Statement) -> Element:
    return _element(place, "Action", statement.action, statement.not_action)


def resources(place: str, statement: Statement) -> Element:
    return _element(place, "Resource", statement.resource, statement.not_resource)


def conditions(place: str, statement: Statement) -> Iterator[ConditionElement]:
    if isinstance(statement.condition, UnsetType):
        return
    for operator, keys in statement.condition.items():
        for key, given in keys.items():
            yield ConditionElement(
                place=f"{place}.Condition.{operator}.{key}",
                operator=operator,
                key=key,
                values=tuple(map(_text, given if isinstance(given, list) else [given])),
            )


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _short(text: str) -> str:
    """What a refusal quotes may be long; the refusal is not."""
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}…"


def _check_text(text: str, most_characters: int) -> None:
    """IAM has the first of these refused as a ValidationError; the reason is the same."""
    allowed = _ALLOWED.match(text)
    if allowed is not None and allowed.end() < len(text):
        raise MalformedPolicyDocument(
            f"{_SYNTAX} Character {allowed.end()} is not among U+0009, U+000A, U+000D and U+0020"
            " to U+00FF"
        )
    if len(text) > MOST_CHARACTERS:
        raise MalformedPolicyDocument(
            f"{_SYNTAX} The document has more than {MOST_CHARACTERS} characters"
        )
    if len(_WHITE_SPACE.sub("", text)) > most_characters:
        raise MalformedPolicyDocument(f"Cannot exceed quota for PolicySize: {most_characters}")


def _check_grammar(document: Document) -> None:
    placed = document.statements
    if not placed:
        raise malformed(_SYNTAX, "$.Statement", "A policy has at least one statement")
    for place, statement in placed:
        if statement.effect.lower() not in {"allow", "deny"}:
            raise malformed(_SYNTAX, f"{place}.Effect", "It is Allow or Deny")
        pairs = (
            ("Action", statement.action, statement.not_action),
            ("Resource", statement.resource, statement.not_resource),
            ("Principal", statement.principal, statement.not_principal),
        )
        for name, plain, negated in pairs:
            if plain is not UNSET and negated is not UNSET:
                raise malformed(_SYNTAX, f"{place}.Not{name}", f"There is {name} already")


def _element(
    place: str, name: str, plain: Texts | UnsetType, negated: Texts | UnsetType
) -> Element:
    excluded = negated is not UNSET
    where = f"{place}.Not{name}" if excluded else f"{place}.{name}"
    given = negated if excluded else plain
    return Element(place=where, values=tuple(_values(where, given)), excluded=excluded)


def _values(place: str, given: Texts | UnsetType) -> Iterator[tuple[str, str]]:
    if isinstance(given, str):
        yield place, given
    elif isinstance(given, list):
        yield from ((f"{place}[{i}]", value) for i, value in enumerate(given))
