"""What a release gives: pip takes the compiled wheel where it fits, and that does the main job."""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from benchmarks.fronts import outcrop_config, signed
from benchmarks.load import Load, ask
from benchmarks.processes import family, resident_kb
from benchmarks.scripted_server import scripted_server
from tests.clients.environments import environment_of_wheel
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process
from tools.compile_hook import refuse_without_compiler

# The first who asks has it compiled, which takes minutes.
pytestmark = [pytest.mark.client, pytest.mark.timeout(900)]

DIST = REPOSITORY / "dist"
ELSEWHERE = ("--platform", "musllinux_1_2_riscv64", "--only-binary=:all:")
MAIN_JOB = (
    "test_manual_requests.py",
    "test_inference_profiles.py",
    "test_provisioned_throughput.py",
    "test_invoke_model.py",
    "test_streams_on_the_wire.py",
    "test_cross_region.py",
    "test_ledger.py",
    "test_crash.py",
)
KILLS = "2"
QUIET = 'log_level = "error"\n'
QUOTA = "[[quotas]]\nrequests_per_minute = 1\n"
WARM_ANSWERS, ANSWERS = 10_000, 20_000
MOST_GROWTH_KB = 3_000
"""A leak of 150 bytes an answer is seen."""


@pytest.fixture(scope="module", autouse=True)
def _dist() -> None:
    """Nothing is compiled again that has not changed."""
    try:
        refuse_without_compiler()
    except SystemExit as needed:
        pytest.skip(str(needed))
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    made = subprocess.run(
        ["make", "dist"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="module")
def python(_dist: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that has what pip takes here, and what that needs."""
    wheel = taken_by_pip(tmp_path_factory.mktemp("here"))
    return environment_of_wheel("release", wheel) / "python"


def taken_by_pip(folder: Path, *where: str) -> Path:
    """Out of dist/, for this machine or another."""
    pip_download = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-index")
    folders = ("--find-links", str(DIST), "--dest", str(folder))
    subprocess.run([*pip_download, *folders, *where, "outcrop"], check=True)
    (wheel,) = folder.iterdir()
    return wheel


def test_pip_takes_the_compiled_wheel_where_it_fits_and_the_other_elsewhere(tmp_path: Path) -> None:
    here = taken_by_pip(tmp_path / "here").name
    elsewhere = taken_by_pip(tmp_path / "elsewhere", *ELSEWHERE).name

    assert elsewhere.endswith("-py3-none-any.whl")
    assert sysconfig.get_config_var("SOABI").split("-")[1] in here
    # An index takes no wheel that does not say which C library it needs.
    assert "-linux_" not in here


def test_it_says_that_it_is_compiled(python: Path) -> None:
    told = subprocess.run(
        [python, "-m", "outcrop", "--version"], check=True, capture_output=True, text=True
    ).stdout

    assert told.endswith("(compiled)\n")


def test_compiled_it_does_the_main_job(python: Path) -> None:
    """Those tests ask a server, and `kill -9` it; here the server is the compiled one."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not client", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"tests/conformance/{name}" for name in MAIN_JOB)],
        cwd=REPOSITORY,
        env={**os.environ, "OUTCROP_PYTHON": str(python), "OUTCROP_KILLS": KILLS},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("refused", [False, True])
def test_compiled_it_grows_by_no_converse(python: Path, tmp_path: Path, *, refused: bool) -> None:
    command = [str(python), "-m", "outcrop", "serve"]
    with scripted_server() as port:
        config = outcrop_config(port, QUIET + QUOTA if refused else QUIET)
        with outcrop_process(tmp_path / "state", config=config, command=command) as server:
            answered(server, WARM_ANSWERS)
            before = resident_kb(family(server.process.pid))
            refusals = answered(server, ANSWERS)
            growth = resident_kb(family(server.process.pid)) - before

    assert (refusals >= ANSWERS) == refused
    assert growth < MOST_GROWTH_KB


def answered(server: OutcropProcess, least: int) -> int:
    """Asks until so many answers are there; how many of them were refusals."""
    loads: list[Load] = []
    while sum(load.answers for load in loads) < least:
        asked = ask("127.0.0.1", server.port, [signed(server)], connections=8, seconds=1)
        loads.append(asyncio.run(asked))
    return sum(load.refusals for load in loads)
