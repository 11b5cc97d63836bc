"""Workers that are spawned, as elsewhere than on Linux: they begin with nothing of their parent."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import alive, ended_within, workers
from tests.server.test_metrics import free_port, scraped, total

pytestmark = pytest.mark.slow

SPAWNING = """
import multiprocessing, sys
from outcrop.server.cli import main

spawning = multiprocessing.get_context("spawn")
multiprocessing.get_context = lambda _: spawning
sys.exit(main(["serve", "--workers", "2", *sys.argv[1:]]))
"""


def spawning_server(state: Path, config: str = "") -> AbstractContextManager[OutcropProcess]:
    return outcrop_process(state, config=config, command=(sys.executable, "-c", SPAWNING))


def spawned(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_they_answer_and_end(tmp_path: Path) -> None:
    with spawning_server(tmp_path) as server:
        statuses = {Signer(server).ask("GET", "/inference-profiles").status for _ in range(8)}
        children = workers(server)
        running = [pid for pid in children if spawned(pid)]

        assert statuses == {200}
        assert len(running) == 2
        assert server.stop() == 0
    assert not any(alive(pid) for pid in running)
    # Python's own tracker of what they share leaves when it sees that it is alone.
    assert ended_within(children, 4)


def test_they_are_handed_the_port_of_metrics_and_the_pipes_between_them(tmp_path: Path) -> None:
    port = free_port()
    config = f'[embedded]\nenabled = false\n[metrics]\nlisten = "127.0.0.1:{port}"'
    with spawning_server(tmp_path, config) as server:
        for _ in range(8):
            Signer(server).ask("GET", "/inference-profiles")
        samples = scraped(port)

    assert total(samples, "outcrop_requests_total", rpc_method="ListInferenceProfiles") == 8


def test_a_killed_parent_takes_them_with_it(tmp_path: Path) -> None:
    with spawning_server(tmp_path) as server:
        running = workers(server)
        server.kill()

        assert ended_within(running, 4)
