"""`outcrop serve` when a worker of it is lost: another takes its place."""

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.processes import family
from outcrop.fleet.embedded_folder import embedded_status
from tests.conformance.kills import ask as ask_model
from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import alive, ended_within, fake_server, told_eventually, workers
from tests.server.wire import GET, ask, post, wire
from tests.waiting import eventually

pytestmark = pytest.mark.slow

TWO = ("--workers", "2")


def events(server: OutcropProcess, event: str) -> list[dict[str, Any]]:
    lines = [x for x in server.log.read_bytes().splitlines() if x.startswith(b"{")]
    return [line for line in map(msgspec.json.decode, lines) if line["event"] == event]


def lost(server: OutcropProcess) -> list[tuple[int, str, float]]:
    return [(x["worker"], x["cause"], x["again_in_s"]) for x in events(server, "a worker is lost")]


def lose(server: OutcropProcess, pid: int, number: int = signal.SIGKILL) -> None:
    """Returns when the server has noticed it."""
    before = len(lost(server))
    os.kill(pid, number)
    assert eventually(lambda: len(lost(server)) > before)


def all_serve_again(server: OutcropProcess, times: int = 1) -> bool:
    return eventually(lambda: len(events(server, "a worker serves again")) == times)


def survivors(before: Sequence[int], server: OutcropProcess) -> set[int]:
    return set(before) & set(workers(server))


def test_another_takes_the_place_of_a_worker_that_is_killed(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=TWO) as server:
        before = workers(server)
        lose(server, before[1])
        assert all_serve_again(server)

        assert lost(server) == [(2, "SIGKILL", 0.0)]
        assert survivors(before, server) == {before[0]}
        assert len(workers(server)) == 2
        assert {ask(server.port, GET).status for _ in range(8)} == {200}
        running = workers(server)
        assert server.stop() == 0
        assert not any(alive(pid) for pid in running)


def test_who_connects_while_the_only_worker_is_lost_is_answered_by_the_next(
    tmp_path: Path,
) -> None:
    with fake_server(tmp_path) as server:
        os.kill(workers(server)[0], signal.SIGKILL)

        assert ask(server.port, GET).status == 200


def test_calls_of_the_other_workers_go_on(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=TWO) as server:
        _, second = workers(server)
        os.kill(second, signal.SIGSTOP)  # it accepts nothing
        with wire(server.port) as connection:
            connection.send(post("/slow?0.5", b"{}"))
            assert told_eventually(server, ["started"], within_s=1)
            lose(server, second)

            assert connection.answer().body == b'"at last"'


def test_who_takes_over_ends_as_the_others_do(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        lose(server, workers(server)[0])
        assert all_serve_again(server)
        with wire(server.port) as connection:
            connection.send(post("/slow?0.6", b"{}"))
            assert told_eventually(server, ["started"], within_s=1)
            server.process.terminate()

            assert connection.answer().body == b'"at last"'
        assert server.process.wait(5) == 0


def test_a_worker_that_is_lost_again_and_again_is_replaced_ever_later(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=TWO) as server:
        for times in range(1, 4):
            (latest,) = set(workers(server)[-1:])
            lose(server, latest)
            assert all_serve_again(server, times)

        assert [again_in_s for _, _, again_in_s in lost(server)] == [0.0, 1.0, 2.0]


def test_where_the_next_cannot_serve_either_the_others_go_on_and_it_is_tried_again(
    tmp_path: Path,
) -> None:
    with fake_server(tmp_path, arguments=TWO) as server:
        (tmp_path / "broken").touch()
        lose(server, workers(server)[0])
        assert eventually(lambda: len(lost(server)) == 2)
        assert {ask(server.port, GET).status for _ in range(8)} == {200}
        (tmp_path / "broken").unlink()

        assert all_serve_again(server)
        assert lost(server) == [(1, "SIGKILL", 0.0), (1, "exit code 1", 1.0)]
        assert "outcrop: cannot serve: the database is of a newer Outcrop\n" in (
            server.log.read_text()
        )


def test_where_nobody_can_be_made_to_serve_the_server_ends(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        (tmp_path / "broken").touch()
        lose(server, workers(server)[0])

        assert server.process.wait(5) == 1
        assert server.log.read_text().endswith("the database is of a newer Outcrop\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def test_it_ends_at_once_while_nobody_has_taken_the_place_yet(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=TWO) as server:
        (tmp_path / "broken").touch()
        lose(server, workers(server)[0])
        assert eventually(lambda: len(lost(server)) == 2)

        assert server.stop() == 0


def test_a_worker_that_is_stopped_alone_ends_and_is_replaced(tmp_path: Path) -> None:
    config = "[limits]\ndrain_timeout_s = 0.1"
    with fake_server(tmp_path, config=config, arguments=TWO) as server:
        lose(server, workers(server)[0], signal.SIGTERM)

        assert all_serve_again(server)
        assert lost(server) == [(1, "no error", 0.0)]


def test_the_embedded_model_of_a_worker_that_is_lost_leaves_with_it_and_another_answers(
    tmp_path: Path, model_cache: Path
) -> None:
    config = f'cache = "{model_cache}"\n[embedded]\nstart = "at_start"'
    with outcrop_process(tmp_path, config=config, arguments=TWO) as server:
        assert eventually(lambda: embedded_status(tmp_path).state == "ready")
        old = embedded_status(tmp_path).pid
        assert old
        (owner,) = [pid for pid in workers(server) if old in family(pid)]
        lose(server, owner)
        assert ended_within([old], 5)
        assert ask_model(Signer(server), "hello")[0] == 200
        new = embedded_status(tmp_path).pid
        assert new
        assert new != old
        everybody = family(server.process.pid)
        assert new in everybody
        assert server.stop() == 0

    assert ended_within(everybody, 5)
