"""Metric math, read: from the text of an expression to its tree (pure)."""

import re
from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'"
    r"|(?P<operator>==|!=|<=|>=|&&|\|\||[-+*/^<>(),\[\]]))",
    re.ASCII,
)
_END = ""

# Strength of what stands between two operands; a stronger one is computed first.
_STRENGTHS = {
    **dict.fromkeys(("OR", "||"), 1),
    **dict.fromkeys(("AND", "&&"), 2),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/"), 5),
    "^": 6,
}
_SIGN = 5
_SPELT = {"AND": "&&", "OR": "||"}
# Far above what anybody writes, far below where Python's stack ends.
_DEEPEST = 50


class MathError(Exception):
    """What is wrong with an expression."""


class Number(Struct, frozen=True):
    value: float


class Text(Struct, frozen=True):
    value: str


class Name(Struct, frozen=True):
    """The Id of another query, or a word like REPEAT."""

    value: str


class Array(Struct, frozen=True):
    items: tuple["Tree", ...]


class Call(Struct, frozen=True):
    function: str
    """In capitals."""
    arguments: tuple["Tree", ...]


class Infix(Struct, frozen=True):
    operator: str
    left: "Tree"
    right: "Tree"


class Negated(Struct, frozen=True):
    operand: "Tree"


Tree: TypeAlias = Number | Text | Name | Array | Call | Infix | Negated


class _Token(Struct, frozen=True):
    kind: str
    text: str


def parse(expression: str) -> Tree:
    """Raises MathError."""
    reader = _Reader(list(_tokens(expression)))
    tree = reader.operand(weakest=1, depth=0)
    reader.expect(_END)
    return tree


def nodes(tree: Tree) -> Iterator[Tree]:
    """A tree and everything in it."""
    yield tree
    for branch in _below(tree):
        yield from nodes(branch)


def _below(tree: Tree) -> tuple[Tree, ...]:
    match tree:
        case Array(below) | Call(_, below):
            return below
        case Infix(_, left, right):
            return left, right
        case Negated(operand):
            return (operand,)
        case Number() | Text() | Name():
            return ()


def _tokens(expression: str) -> Iterator[_Token]:
    text, at = expression.rstrip(), 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise MathError(f"Unexpected character '{text[at:].lstrip()[0]}'")
        kind = found.lastgroup or ""
        word = found[kind]
        is_operator = kind == "name" and word in _SPELT
        yield _Token("operator", _SPELT[word]) if is_operator else _Token(kind, word)
        at = found.end()
    yield _Token("operator", _END)


class _Reader:
    """By precedence climbing."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def operand(self, *, weakest: int, depth: int) -> Tree:
        """Up to the first operator that is weaker than `weakest`."""
        if depth > _DEEPEST:
            raise MathError("The expression is nested too deeply")
        tree = self._single(depth + 1)
        while (strength := self._strength()) >= weakest:
            operator = self._next().text
            # Powers go from right to left.
            right = strength if operator == "^" else strength + 1
            tree = Infix(operator, tree, self.operand(weakest=right, depth=depth + 1))
        return tree

    def expect(self, operator: str) -> None:
        token = self._next()
        if token != _Token("operator", operator):
            raise _unexpected(token)

    def _single(self, depth: int) -> Tree:
        token = self._next()
        match token:
            case _Token("number", text):
                return Number(float(text))
            case _Token("double" | "single", text):
                return Text(text)
            case _Token("name", text):
                return self._named(text, depth)
            case _Token("operator", "-"):
                return Negated(self.operand(weakest=_SIGN + 1, depth=depth))
            case _Token("operator", "["):
                return Array(self._listed("]", depth))
            case _Token("operator", "("):
                tree = self.operand(weakest=1, depth=depth)
                self.expect(")")
                return tree
            case _:
                raise _unexpected(token)

    def _named(self, text: str, depth: int) -> Tree:
        if not self._follows("("):
            return Name(text)
        return Call(text.upper(), self._listed(")", depth))

    def _listed(self, end: str, depth: int) -> tuple[Tree, ...]:
        if self._follows(end):
            return ()
        items = [self.operand(weakest=1, depth=depth)]
        while self._follows(","):
            items.append(self.operand(weakest=1, depth=depth))
        self.expect(end)
        return tuple(items)

    def _follows(self, operator: str) -> bool:
        if self._tokens[self._at] != _Token("operator", operator):
            return False
        self._at += 1
        return True

    def _strength(self) -> int:
        token = self._tokens[self._at]
        return _STRENGTHS.get(token.text, 0) if token.kind == "operator" else 0

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token


def _unexpected(token: _Token) -> MathError:
    return MathError(f"Unexpected '{token.text}'" if token.text else "Unexpected end")
