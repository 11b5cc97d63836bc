"""Where third-party clients are installed: environments of their own, kept between runs."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

CACHE = Path(__file__).parent.parent.parent / ".cache" / "clients"

# What pip, npm and apt say when there is no way to the registry; any other failure is ours to mend.
_OUT_OF_REACH = (
    "connection broken",
    "Could not fetch URL",
    "Network is unreachable",
    "Name or service not known",
    "Temporary failure in name resolution",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "Unable to locate package",
    "Unable to fetch some archives",
)


def python_environment(name: str, *requirements: str) -> Path:
    """The `bin` folder of a virtual environment that has `requirements` and nothing of ours."""
    folder = CACHE / name
    listing = folder / "requirements.txt"
    wanted = "\n".join((sys.version, *requirements))
    if not listing.exists() or listing.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        if requirements:
            _install(_pip(folder / "bin", *requirements))
        listing.write_text(wanted)
    return folder / "bin"


def environment_of_wheel(name: str, wheel: Path, *requirements: str) -> Path:
    """As `python_environment`, and with `wheel` as it is now."""
    programs = python_environment(name, *requirements)
    _install(_pip(programs, wheel))
    # One that was installed before has the same version.
    _install(_pip(programs, "--force-reinstall", "--no-deps", wheel))
    return programs


def node_environment(name: str, source: Path) -> Path:
    """A folder that has the scripts of `source` and what its package-lock.json lists."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    lock = (source / "package-lock.json").read_text()
    installed = folder / "installed-lock.json"
    for file in source.iterdir():
        shutil.copy(file, folder)
    if not installed.exists() or installed.read_text() != lock:
        _install(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        installed.write_text(lock)
    return folder


def debian_program(package: str, path: str) -> Path:
    """A program out of one of Debian's packages that needs no other, unpacked and not installed."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = CACHE / f"debian-{package}"
    found = folder / path
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # One that is no root asks the lists that there are.
        _install(["apt-get", "download", "--quiet", package], folder)
        (archive,) = folder.glob(f"{package}_*.deb")
        _install(["dpkg-deb", "-x", archive, folder])
        archive.unlink()
    return found


def outside(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables of a program that is to know nothing of who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"HOME": str(home)} | dict(variables)


def seen(command: Sequence[str | Path], variables: Mapping[str, str], folder: Path) -> Any:
    """The JSON that a script prints last: what it saw."""
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _pip(programs: Path, *arguments: str | Path) -> Sequence[str | Path]:
    return [programs / "python", "-m", "pip", "install", "--quiet", *arguments]


def _install(command: Sequence[str | Path], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode == 0:
        return
    for line in done.stderr.splitlines():
        if any(words in line for words in _OUT_OF_REACH):
            pytest.skip(f"the registry is out of reach: {line}")
    raise AssertionError(f"{command} failed:\n{done.stdout}{done.stderr}")
