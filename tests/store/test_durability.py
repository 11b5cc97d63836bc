import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outcrop.store.records import ProvisionedModelThroughputFilters
from tests.clocks import FakeClock
from tests.store.opened import create, open_throughputs
from tests.store.samples import ACCOUNT, REGION, throughput

WRITER = Path(__file__).parent / "writer.py"
ROOT = WRITER.parent.parent.parent


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(location: str, clock: FakeClock) -> None:
    acknowledged = [
        name
        for run, lines in enumerate((40, 1, 150))
        for name in _killed_after(location, run, lines)
    ]

    stored = asyncio.run(_names(location, clock))

    assert len(acknowledged) >= 191
    assert set(acknowledged) <= set(stored)
    # A run may have been killed between a commit and its acknowledgement, each of its writers once.
    assert len(stored) - len(acknowledged) <= 3 * 4


@pytest.mark.slow
def test_who_reads_the_file_meanwhile_and_leaves_takes_nothing_with_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    """As a backup does, or `outcrop doctor`: whoever closes last removes SQLite's log."""
    location = str(tmp_path / "outcrop.db")

    async def main() -> list[list[str]]:
        seen = []
        async with open_throughputs(location, clock):
            pass  # a start on a file that is there already is another matter than the first
        async with open_throughputs(location, clock) as throughputs:
            for name in ("first", "second", "third"):
                await create(throughputs, throughput(name))
                seen.append(_seen_by_another_program(location))
        return seen

    assert asyncio.run(main()) == [
        ["first"],
        ["first", "second"],
        ["first", "second", "third"],
    ]


def _seen_by_another_program(location: str) -> list[str]:
    program = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); print(*(name for name, in "
        "database.execute('SELECT provisioned_model_name FROM provisioned_model_throughputs "
        "ORDER BY row_id'))); database.close()"
    )
    command = [sys.executable, "-c", program, location]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def _killed_after(location: str, run: int, lines: int) -> list[str]:
    """What a process that writes in a loop said it had written, when it was killed."""
    with subprocess.Popen(
        [sys.executable, WRITER, location, str(run)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as writer:
        assert writer.stdout
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    return [line.strip() for line in said if line.endswith("\n")]


async def _names(location: str, clock: FakeClock) -> list[str]:
    async with open_throughputs(location, clock, block_bits=3) as throughputs:
        listed = await throughputs.page(
            ACCOUNT,
            REGION,
            filters=ProvisionedModelThroughputFilters(),
            descending=True,
            after=None,
            limit=10_000,
        )
        found = await throughputs.page(
            ACCOUNT,
            REGION,
            filters=ProvisionedModelThroughputFilters(name_contains="run"),
            descending=True,
            after=None,
            limit=10_000,
        )
    assert listed == found
    return [json.loads(summary)["provisionedModelName"] for summary in listed.rows]
