"""The process beside the workers: what they record is read by it, and lost with none of them."""

import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.processes import bookkeeper_of
from tests.clients.scripted_server import ScriptedServer, scripted_server
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import alive, ended_within, workers
from tests.server.test_reload import HELLO, MODEL_ID, client, reload, settings
from tests.server.test_reload_metering import bill, priced
from tests.waiting import eventually

pytestmark = pytest.mark.slow

COST = Decimal("0.0011")
"""US dollars for a call, at a tenth of one for a thousand tokens."""


@pytest.fixture
def model_server() -> Iterator[ScriptedServer]:
    """Every call reads 11 tokens and writes 7."""
    with scripted_server() as running:
        yield running


def say(server: OutcropProcess, times: int) -> None:
    runtime = client(server)
    for _ in range(times):
        runtime.converse(modelId=MODEL_ID, messages=HELLO)


def billed(server: OutcropProcess) -> int:
    """For how many calls."""
    return int(bill(server).get("input-tokens", Decimal(0)) / COST)


def said(server: OutcropProcess, event: str) -> bool:
    return f'"{event}"' in server.log.read_text()


def test_what_was_recorded_is_billed_though_the_bookkeeper_was_lost(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    """Before it could read it, while it was gone, and after: each call once."""
    config = priced(model_server.url, "0.1", "0")
    with outcrop_process(tmp_path, config=config, arguments=("--workers", "2")) as server:
        before = bookkeeper_of(server.process.pid)
        os.kill(before, signal.SIGSTOP)
        say(server, 5)
        os.kill(before, signal.SIGKILL)
        say(server, 5)
        assert eventually(lambda: said(server, "the bookkeeper serves again"))
        assert bookkeeper_of(server.process.pid) != before
        say(server, 5)

        assert eventually(lambda: billed(server) == 15)
        assert said(server, "the bookkeeper is lost")
        assert len(workers(server)) == 2
        assert server.stop() == 0
    with outcrop_process(tmp_path, config=config) as server:
        assert billed(server) == 15


def test_a_stop_leaves_nothing_in_journals_though_nobody_kept_the_books(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    config = priced(model_server.url, "0.1", "0")
    with outcrop_process(tmp_path, config=config) as server:
        stopped = bookkeeper_of(server.process.pid)
        os.kill(stopped, signal.SIGSTOP)
        say(server, 3)
        (worker,) = workers(server)
        server.process.terminate()
        assert ended_within([worker], 5)
        assert list((tmp_path / "journal").iterdir()) == []
        os.kill(stopped, signal.SIGCONT)
        assert server.process.wait(5) == 0


def test_it_ends_with_its_parent(tmp_path: Path, model_server: ScriptedServer) -> None:
    with outcrop_process(tmp_path, config=settings(("gpu", model_server.url))) as server:
        running = [bookkeeper_of(server.process.pid), *workers(server)]
        server.kill()

        assert ended_within(running, 4)


def test_it_goes_on_when_the_file_is_read_again(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    """Whether it can be followed or not; what is wrong with it, the worker says."""
    server_table = ("gpu", model_server.url)
    with outcrop_process(tmp_path, config=settings(server_table)) as server:
        keeper = bookkeeper_of(server.process.pid)
        reload(
            server,
            settings(server_table, more="[metering]\nkeep_records_days = 1\n"),
            until="the configuration was read again",
        )
        reload(
            server,
            settings(server_table, more="[metering]\nkeep_record_days = 1\n"),
            until="the configuration stays as it was",
        )
        assert (alive(keeper), bookkeeper_of(server.process.pid)) == (True, keeper)
