"""Text of a policy that stands for many: wildcards, and variables that the request fills in."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from msgspec import Struct

Context: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""What is known of a request, by condition key in lower case; a tuple under a multivalued key."""

Test: TypeAlias = Callable[[str], bool]


class Wildcard(Enum):
    ANY = "*"
    ONE = "?"


class Variable(Struct, frozen=True):
    """`${key, 'default'}`."""

    key: str
    """In lower case."""
    default: str | None


Piece: TypeAlias = str | Wildcard | Variable
Template: TypeAlias = tuple[Piece, ...]

_WILDCARD = r"(?P<wildcard>[*?])"
_VARIABLE = r"\$\{(?:(?P<character>[*?$])|(?P<key>[^,{}']+)(?:,\s*'(?P<default>[^']*)'\s*)?)\}"
_SCANS = {
    (True, False): re.compile(_WILDCARD),
    (False, True): re.compile(_VARIABLE),
    (True, True): re.compile(f"{_VARIABLE}|{_WILDCARD}"),
}
_REMEMBERED = 4_096
_SEGMENTS = 6


def template(text: str, *, wildcards: bool, variables: bool) -> Template:
    """What is not both wanted and well-formed stands for itself."""
    scan = _SCANS.get((wildcards, variables))
    if scan is None:
        return (text,)
    return tuple(_pieces(text, scan))


def is_fixed(pattern: Template) -> bool:
    """Whether the pattern means the same in every request."""
    return not any(isinstance(piece, Variable) for piece in pattern)


def keys_of(pattern: Template) -> Iterator[str]:
    """The condition keys that the pattern's variables name."""
    return (piece.key for piece in pattern if isinstance(piece, Variable))


def filled_in(pattern: Template, context: Context) -> Template | None:
    """None when a variable has no value: then the pattern matches nothing.

    A wildcard within a value is a plain character, and a multivalued key is no value.
    """
    pieces: list[Piece] = []
    for piece in pattern:
        if not isinstance(piece, Variable):
            pieces.append(piece)
            continue
        value = context.get(piece.key)
        known = value if isinstance(value, str) else piece.default
        if known is None:
            return None
        pieces.append(known)
    return tuple(pieces)


@lru_cache(maxsize=_REMEMBERED)
def text_test(pattern: Template) -> Test:
    """Whether a text matches from its beginning to its end."""
    plain = _plain(pattern)
    return _expression(_glob(pattern, ".")) if plain is None else plain.__eq__


@lru_cache(maxsize=_REMEMBERED)
def caseless_test(pattern: Template) -> Test:
    """As `text_test`, but in any case."""
    test = text_test(tuple(piece.lower() if isinstance(piece, str) else piece for piece in pattern))
    return lambda text: test(text.lower())


@lru_cache(maxsize=_REMEMBERED)
def arn_test(pattern: Template) -> Test:
    """As `text_test`, but each of an ARN's six parts by itself; a lone `*` matches everything."""
    if pattern == (Wildcard.ANY,):
        return lambda _: True
    parts = _arn_parts(pattern)
    if len(parts) < _SEGMENTS:
        return lambda _: False
    plain = _plain(pattern)
    if plain is not None:
        return plain.__eq__
    *segments, resource = parts
    globs = [*(_glob(segment, "[^:]") for segment in segments), _glob(resource, ".")]
    return _expression(":".join(globs))


def _pieces(text: str, scan: re.Pattern[str]) -> Iterator[Piece]:
    end = 0
    for found in scan.finditer(text):
        if end < found.start():
            yield text[end : found.start()]
        yield _piece(found.groupdict())
        end = found.end()
    if end < len(text):
        yield text[end:]


def _piece(found: Mapping[str, str | None]) -> Piece:
    wildcard, character, key = found.get("wildcard"), found.get("character"), found.get("key")
    if wildcard:
        return Wildcard(wildcard)
    return character or Variable(str(key).strip().lower(), found.get("default"))


def _plain(pattern: Template) -> str | None:
    """The one text that the pattern stands for, if it is one."""
    if any(isinstance(piece, Wildcard) for piece in pattern):
        return None
    return "".join(str(piece) for piece in pattern)


def _arn_parts(pattern: Template) -> list[list[Piece]]:
    parts: list[list[Piece]] = [[]]
    for piece in pattern:
        if not isinstance(piece, str):
            parts[-1].append(piece)
            continue
        first, *rest = piece.split(":", _SEGMENTS - len(parts))
        parts[-1].append(first)
        parts.extend([text] for text in rest)
    return parts


def _glob(pattern: Sequence[Piece], character: str) -> str:
    """Each run between two `*` at its first place and at no other: no backtracking over runs."""
    runs = [""]
    for piece in pattern:
        if piece is Wildcard.ANY:
            runs.append("")
        else:
            runs[-1] += character if piece is Wildcard.ONE else re.escape(str(piece))
    if len(runs) == 1:
        return runs[0]
    first, *middle, last = runs
    between = "".join(f"(?>{character}*?{run})" for run in middle if run)
    return f"{first}{between}{character}*{last}"


def _expression(source: str) -> Test:
    fullmatch = re.compile(source, re.DOTALL).fullmatch
    return lambda text: fullmatch(text) is not None
