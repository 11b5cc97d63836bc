"""Takes out of a module what mypyc does not make: records and exceptions.

It drops what is said of a class in its brackets (`frozen`, `kw_only`) and the parameters of its
annotations, which msgspec reads; and its exceptions with members of their own crash (mypyc 2.4.1).
So these stay Python, in a module beside the compiled one.
"""

import ast
from collections.abc import Iterator
from typing import NamedTuple

RECORDS = ("Struct", "Shape", "NamedTuple")
EXCEPTIONS = ("Error", "Exception")


class Separated(NamedTuple):
    """Lines keep their numbers in both: tracebacks name those of the source."""

    compiled: str
    interpreted: str


def separated(source: str, interpreted: str) -> Separated | None:
    """None where nothing is to be taken out. `interpreted`: the full name of the module beside."""
    tree = ast.parse(source)
    moved = _with_what_they_need(tree)
    if not moved:
        return None
    names = [name for node in moved for name in _defined(node)]
    lines = source.splitlines()
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    beside = _only(lines, [*imports, *moved])
    for number in _lines_of(moved):
        lines[number] = ""
    # `as`: the compiled module is still where others find them.
    found = ", ".join(f"{name} as {name}" for name in names)
    lines[min(_lines_of(moved))] = f"from {interpreted} import {found}"
    return Separated("\n".join(lines) + "\n", "\n".join(beside) + "\n")


def _with_what_they_need(tree: ast.Module) -> list[ast.stmt]:
    """What stays, and what of the module it names, and what that names."""
    by_name = {name: node for node in tree.body for name in _defined(node)}
    moved = {node for node in tree.body if _stays(node)}
    to_look_at = list(moved)
    while to_look_at:
        needed = {by_name[name] for name in _named(to_look_at.pop()) if name in by_name}
        to_look_at += needed - moved
        moved |= needed
    return [node for node in tree.body if node in moved]


def _stays(node: ast.stmt) -> bool:
    if not isinstance(node, ast.ClassDef):
        return False
    bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
    return bool(node.keywords) or any(base.endswith((*RECORDS, *EXCEPTIONS)) for base in bases)


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case _:
            pass


def _named(node: ast.stmt) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name):
                yield name
            case ast.Constant(value=str(annotation)) if annotation.isidentifier():
                yield annotation
            case _:
                pass


def _only(lines: list[str], nodes: list[ast.stmt]) -> list[str]:
    kept = set(_lines_of(nodes))
    return [line if number in kept else "" for number, line in enumerate(lines)]


def _lines_of(nodes: list[ast.stmt]) -> list[int]:
    return [number for node in nodes for number in range(_first(node) - 1, node.end_lineno or 0)]


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min(node.lineno, *(one.lineno for one in decorators), node.lineno)
