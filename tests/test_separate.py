"""What of a module is compiled, and what stays Python beside it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest

from tools.separate import Separated, separated

ROOT = Path(__file__).parent.parent
LISTED = (ROOT / "tools" / "compiled_modules.txt").read_text().split()
CHECKS = re.compile(r"mypy==|types-")

MODULE = '''"""A module."""

from msgspec import Struct

DEEPEST = 3
WIDEST = 4


def doubled(number: int) -> int:
    return 2 * number


class FullError(Exception):
    """No room."""


class Box(Struct, frozen=True):
    width: "Width"
    depth: int = DEEPEST

    def size(self) -> int:
        return doubled(self.depth)


class Width(Struct):
    metres: int = 1


def fitting(box: Box) -> int:
    if box.width.metres > WIDEST:
        raise FullError
    return box.size()
'''


@pytest.fixture(name="parts")
def _parts() -> Separated:
    parts = separated(MODULE, "beside")
    assert parts is not None
    return parts


def test_records_and_exceptions_stay_python_with_what_they_name(parts: Separated) -> None:
    assert _defined(parts.interpreted) == ["DEEPEST", "doubled", "FullError", "Box", "Width"]
    assert _defined(parts.compiled) == ["WIDEST", "fitting"]


def test_both_together_are_what_the_module_was(
    parts: Separated, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, module = ModuleType("beside"), ModuleType("module")
    monkeypatch.setitem(sys.modules, "beside", beside)
    exec(parts.interpreted, beside.__dict__)
    exec(parts.compiled, module.__dict__)

    assert module.fitting(module.Box(module.Width())) == 6
    with pytest.raises(module.FullError):
        module.fitting(module.Box(module.Width(5)))


def test_lines_keep_their_numbers(parts: Separated) -> None:
    whole = MODULE.splitlines()
    for part in (parts.compiled, parts.interpreted):
        for number, line in enumerate(part.splitlines()):
            assert line in {"", whole[number]} or line.startswith("from beside import ")


def test_a_module_without_any_is_left_alone() -> None:
    assert separated("def one() -> int:\n    return 1\n", "beside") is None


@pytest.mark.parametrize("module", LISTED)
def test_a_listed_module_has_nothing_that_mypyc_gets_wrong(module: str) -> None:
    tree = ast.parse((ROOT / "src" / "outcrop" / module).read_text())

    assert list(_refused(tree)) == []


def test_who_only_builds_has_the_checker_and_the_stubs_of_who_tests() -> None:
    """pip builds in an environment of its own, which has what is named here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    checks = {one for one in project["dependency-groups"]["dev"] if CHECKS.match(one)}

    assert checks <= set(hook["dependencies"])


def _refused(tree: ast.Module) -> Iterator[str]:
    """Found the quick way; `make compiled` has the last word."""
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef(name=name) if any(map(_yields, ast.walk(node))):
                yield f"{name} is an asynchronous generator"
            case ast.FunctionDef(name=name, decorator_list=[ast.Name("cached_property")]):
                yield f"{name} would be computed each time"
            case ast.Try(handlers=handlers, finalbody=at_last):
                for waits in filter(_waits, chain(*map(ast.walk, [*handlers, *at_last]))):
                    yield f"{ast.unparse(waits)} leaves to others what is handled"
            case _:
                pass


def _yields(node: ast.AST) -> bool:
    return isinstance(node, ast.Yield)


def _waits(node: ast.AST) -> bool:
    """What is closed there closes at once."""
    return isinstance(node, ast.Await) and not ast.unparse(node).endswith(".aclose()")


def _defined(source: str) -> list[str]:
    names: list[str] = []
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.append(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.append(name)
            case _:
                pass
    return names
