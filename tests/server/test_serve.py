"""`outcrop serve` as a process: how it starts, how it refuses to, and how it ends."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from outcrop.server.endpoint import read_endpoint
from tests.outcrop_process import OutcropProcess
from tests.server.serving import (
    FAKE_SERVER,
    alive,
    ended_within,
    fake_server,
    told,
    told_eventually,
    workers,
)
from tests.server.wire import GET, ask, get, post, wire
from tests.waiting import eventually


def refusal(state: Path, *arguments: str, config: str = "") -> str:
    """What a server that cannot start says, after checking that it exits with 1."""
    state.mkdir(exist_ok=True)
    (state / "config.toml").write_text(config)
    ended = subprocess.run(
        [*FAKE_SERVER, "--state", state, "--config", state / "config.toml", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert ended.returncode == 1
    return ended.stderr


def told_by_any(server: OutcropProcess, word: str) -> bool:
    """Whether any worker says it soon: which of them answers is chance."""
    return eventually(lambda: word in told(server), within_s=2)


def refuses_connections_soon(port: int) -> bool:
    deadline = time.monotonic() + 2
    with suppress(ConnectionError):
        while time.monotonic() < deadline:
            ask(port, GET)
        return False
    return True


def test_it_says_where_it_serves_and_how_to_reach_it(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        banner = server.log.read_text()

    assert f"at {server.url}\n" in banner
    assert f'eval "$(outcrop env --state {tmp_path})"' in banner
    assert "stands in" in banner


def test_it_is_one_parent_and_its_workers(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=("--workers", "2")) as server:
        running = workers(server)
        answers = {ask(server.port, GET).status for _ in range(8)}

    assert (len(running), answers) == (2, {200})
    assert not any(alive(pid) for pid in running)


def test_it_serves_ipv6_loopback(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=("--listen", "[::1]:0")) as server:
        assert server.url.startswith("http://[::1]:")
        with socket.create_connection(("::1", server.port)) as connection:
            connection.sendall(GET)
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_port_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        said = refusal(tmp_path / "other", "--listen", f"127.0.0.1:{server.port}")

    assert said.startswith(f"outcrop: cannot listen on 127.0.0.1:{server.port}: Address already")
    assert said.count("\n") == 1


def test_what_an_operator_can_mend_is_refused_in_one_line(tmp_path: Path) -> None:
    said = refusal(tmp_path, "--listen", "127.0.0.1:0", config='region = "xx-refuse-1"')

    assert said == "outcrop: cannot serve: the database is of a newer Outcrop\n"


def test_a_mistake_of_ours_shows_its_traceback_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, "--listen", "127.0.0.1:0", "--workers", "1", config='region = "xx-broken-1"'
    )

    assert said.count("Traceback") == 1
    assert said.endswith("outcrop: cannot serve: a mistake of ours\n")


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refusal(tmp_path / "other", "--state", str(tmp_path / "file" / "state"))

    assert "state = " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_nothing_runs(tmp_path: Path, number: signal.Signals) -> None:
    with fake_server(tmp_path) as server, wire(server.port) as idle:
        idle.send(GET)
        idle.answer()
        started = time.monotonic()
        server.process.send_signal(number)

        assert server.process.wait(5) == 0
        assert time.monotonic() - started < 1


@pytest.mark.slow
def test_a_request_in_progress_is_answered_before_the_end(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server, wire(server.port) as connection:
        connection.send(post("/slow?0.6", b"{}"))
        assert told_eventually(server, ["started"], within_s=1)
        server.process.terminate()

        assert connection.answer().body == b'"at last"'
        assert server.process.wait(5) == 0


@pytest.mark.slow
def test_new_connections_are_refused_while_it_drains(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server, wire(server.port) as connection:
        connection.send(post("/slow?1", b"{}"))
        assert told_eventually(server, ["started"], within_s=1)
        server.process.terminate()

        assert refuses_connections_soon(server.port)
        assert connection.answer().status == 200


@pytest.mark.slow
def test_what_takes_longer_than_the_drain_time_is_cut(tmp_path: Path) -> None:
    config = "[limits]\ndrain_timeout_s = 0.3"
    with (
        fake_server(tmp_path, config=config) as server,
        wire(server.port) as stream,
        wire(server.port) as slow,
    ):
        stream.send(get("/beats"))
        stream.read_some()
        slow.send(post("/slow", b"{}"))
        assert told_eventually(server, ["started"], within_s=1)
        started = time.monotonic()

        assert server.stop() == 0
        assert time.monotonic() - started < 2.5
        assert not stream.read_to_end().endswith(b"0\r\n\r\n")
        answer = slow.answer()
        assert (answer.status, answer.headers["x-amzn-errortype"].partition(":")[0]) == (
            503,
            "ServiceUnavailableException",
        )


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server, wire(server.port) as connection:
        connection.send(post("/slow", b"{}"))
        assert told_eventually(server, ["started"], within_s=1)
        running = workers(server)
        server.process.send_signal(signal.SIGINT)
        assert refuses_connections_soon(server.port)
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(1) == 0
        assert not any(alive(pid) for pid in running)


def test_sighup_is_passed_on_and_ends_nothing(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        for pid in (server.process.pid, *workers(server)):
            os.kill(pid, signal.SIGHUP)

        assert ask(server.port, GET).status == 200
        while "SIGHUP" not in server.log.read_text():
            assert server.process.poll() is None


def test_a_killed_parent_takes_its_workers_with_it(tmp_path: Path) -> None:
    with fake_server(tmp_path, arguments=("--workers", "2")) as server:
        running = workers(server)
        server.kill()

        assert ended_within(running, 2)


@pytest.mark.slow
def test_workers_leave_together(tmp_path: Path) -> None:
    """What one of them looks after, the embedded model, may still be answering for another."""
    with (
        fake_server(tmp_path, arguments=("--workers", "2")) as server,
        wire(server.port) as connection,
    ):
        connection.send(post("/slow?1", b"{}"))
        assert told_by_any(server, "started")
        running = workers(server)
        server.process.terminate()
        assert refuses_connections_soon(server.port)

        assert all(alive(pid) for pid in running)
        assert connection.answer().status == 200
        assert server.process.wait(5) == 0


def test_a_state_folder_serves_one_server_at_a_time(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        said = refusal(tmp_path)

        assert read_endpoint(tmp_path).url == server.url
    assert said == (
        f"outcrop: state = {tmp_path}: a server runs on it, at {server.url}"
        " (--state takes another folder)\n"
    )


def test_a_state_folder_serves_again_after_a_kill(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        server.kill()
    with fake_server(tmp_path) as server:
        assert told(server) == []
