"""A wheel whose busiest modules are machine code: mypyc's work, of the same source.

Hatch calls this where HATCH_BUILD_HOOKS_ENABLE=1 asks for it. Which modules: compiled_modules.txt.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOOLS = Path(__file__).parent
ROOT = TOOLS.parent
SOURCE = Path("src/outcrop")
BESIDE = "_records_of_"


class CompileHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            raise SystemExit("an editable installation cannot be compiled: leave out --editable")
        refuse_without_compiler()
        self._work = work = Path(tempfile.mkdtemp(prefix="outcrop-compiled-"))
        modules = (TOOLS / "compiled_modules.txt").read_text().split()
        shutil.copytree(ROOT / "src", work / "src")
        beside = [*separate(work / "src", modules)]
        built = compile_modules(work, [str(SOURCE / module) for module in modules])
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {
            **{str(path): str(path.relative_to(built)) for path in built.rglob("*.so")},
            **{str(path): str(path.relative_to(work / "src")) for path in beside},
        }

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        del version, build_data, artifact_path
        shutil.rmtree(self._work)


def refuse_without_compiler() -> None:
    compiler = str(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise SystemExit(_NEEDED.format("a C compiler is", compiler, "gcc or clang"))
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise SystemExit(_NEEDED.format("Python's headers are", header, "python3-dev"))


_NEEDED = (
    "to compile Outcrop {} needed, and there is no {} here:"
    " install {}, or build without HATCH_BUILD_HOOKS_ENABLE"
)


def separate(source: Path, modules: Sequence[str]) -> list[Path]:
    """Rewrites the modules that have records; the modules beside them that are Python still."""
    # Hatch loads this file by its path: its neighbour is not found otherwise.
    sys.path.append(str(ROOT))
    from tools.separate import separated  # noqa: PLC0415

    beside: list[Path] = []
    for module in modules:
        path = source / "outcrop" / module
        other = path.with_name(f"{BESIDE}{path.name}")
        name = ".".join(other.relative_to(source).with_suffix("").parts)
        parts = separated(path.read_text(), name)
        if parts is not None:
            path.write_text(parts.compiled)
            other.write_text(parts.interpreted)
            beside.append(other)
    return beside


def compile_modules(work: Path, paths: Sequence[str]) -> Path:
    """The folder with what was built, as it is to be installed."""
    from mypyc.build import mypycify  # noqa: PLC0415 - needed by this one wheel alone
    from setuptools import Distribution  # noqa: PLC0415

    os.environ.setdefault("LDSHARED", linker())
    before = Path.cwd()
    os.chdir(work)
    try:
        extensions = mypycify(
            ["--config-file", str(ROOT / "pyproject.toml"), *paths],
            opt_level="3",
            debug_level="0",
            multi_file=True,
            group_name="outcrop",
            target_dir="c",
        )
        distribution = Distribution({"name": "outcrop", "ext_modules": extensions})
        build: Any = distribution.get_command_obj("build_ext")
        build.build_lib, build.build_temp = "lib", "objects"
        build.parallel = os.cpu_count()
        build.ensure_finalized()
        build.run()
    finally:
        os.chdir(before)
    return work / "lib"


def linker() -> str:
    """Python's own, but that no library is looked for where this machine has them."""
    words = str(sysconfig.get_config_var("LDSHARED")).split()
    return " ".join(word for word in words if not word.startswith("-Wl,-rpath"))
