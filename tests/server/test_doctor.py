"""`outcrop doctor`: each thing that can be wrong, and what it says to do."""

import platform
import socket
import sqlite3
import ssl
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import metadata
from pathlib import Path
from threading import Thread

import pytest

from outcrop.fleet.embedded_folder import Board, EmbeddedFolder, Lock, Published
from outcrop.server import cli, doctor
from outcrop.server.doctor import TESTED, examine
from outcrop.server.endpoint import Endpoint, write_endpoint
from tests.fakes.certificates import Certificates
from tests.fakes.threads import serving

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CREDENTIALS = """[default]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
aws_account_id = 123456789012
"""
NO_ENGINE = "[embedded]\nenabled = false\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    file = folder / "credentials"
    file.write_text(CREDENTIALS)
    file.chmod(0o600)
    write_endpoint(folder, Endpoint(url=f"http://127.0.0.1:{free_port()}"))
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def wrong(state: Path, config: str = NO_ENGINE, *, url: str | None = None) -> dict[str, str]:
    """What is found to be wrong, and how to mend it."""
    path = state.parent / "outcrop.toml"
    path.write_text(config)
    findings = examine(config_path=path, state=state, url=url, clock=lambda: NOW)
    return {finding.what: finding.mend for finding in findings if finding.mend}


@contextmanager
def server(
    status: int, body: bytes, date: datetime = NOW, *, tls: ssl.SSLContext | None = None
) -> Generator[str]:
    """Answers anything with the same thing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date.strftime("%a, %d %b %Y %H:%M:%S GMT")

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
    with serving(running):
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_port}"


def test_a_healthy_installation_has_nothing_wrong(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(200, b'{"inferenceProfileSummaries":[{},{}]}', datetime.now(UTC)) as url:
        code = cli.main(["doctor", "--state", str(state), "--url", url])

    printed = capsys.readouterr().out
    assert (code, "WRONG" in printed) == (0, False)
    assert "answers a signed ListInferenceProfiles (2 profiles)" in printed


def test_it_says_what_it_runs_on_and_whether_that_was_tested(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first() -> str:
        return next(examine(config_path=None, state=state, url=None, clock=lambda: NOW)).what

    release = platform.python_version()
    monkeypatch.setattr(doctor, "TESTED", (sys.version_info[:2],))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert first().startswith(f"Python {release} on Linux x86_64, outcrop ")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert f"{release} on Linux aarch64 (not tested there: see docs/operations.md)," in first()


def test_the_versions_of_python_that_were_tested_are_those_of_the_package() -> None:
    classifiers = metadata("outcrop").get_all("Classifier", [])
    named = [text.rpartition(" ")[2] for text in classifiers if "Python :: 3." in text]

    assert named == [".".join(map(str, tested)) for tested in TESTED]


def test_an_installation_that_never_served_has_nothing_wrong(tmp_path: Path) -> None:
    assert wrong(tmp_path / "state", url=f"http://127.0.0.1:{free_port()}") == {}


def test_an_unknown_key_is_found(state: Path) -> None:
    (found,) = [what for what in wrong(state, "wrokers = 1") if "wrokers" in what]

    assert found.endswith("unknown key `wrokers`")


def test_credentials_that_others_can_read_are_found(state: Path) -> None:
    path = state / "credentials"
    path.chmod(0o644)

    assert wrong(state) == {f"{path} can be read by other users": f"chmod 600 {path}"}


def test_a_state_folder_that_others_can_read_is_found(state: Path) -> None:
    state.chmod(0o755)

    assert wrong(state) == {f"{state} can be read by other users": f"chmod 700 {state}"}


def test_a_state_folder_that_is_a_file_is_found(state: Path) -> None:
    file = state / "credentials"

    assert any("cannot be written by this user" in what for what in wrong(file))


def test_missing_credentials_are_found(state: Path) -> None:
    path = state / "credentials"
    path.unlink()

    said = f"{path} is not there: the first `outcrop serve` writes it."
    assert wrong(state) == {said: "outcrop serve"}


def test_a_database_of_a_newer_version_is_found(state: Path) -> None:
    connection = sqlite3.connect(state / "outcrop.sqlite3")
    connection.executescript(
        "CREATE TABLE schema_version (version); INSERT INTO schema_version VALUES (99)"
    )
    connection.close()

    ((what, mend),) = wrong(state).items()

    assert "has schema 99, newer than this Outcrop's" in what
    assert mend == "run the version that was here before, or a newer one"


def test_a_damaged_database_is_found(state: Path) -> None:
    (state / "outcrop.sqlite3").write_bytes(b"not a database, but long enough to be one" * 100)

    ((what, mend),) = wrong(state).items()

    assert "file is not a database" in what
    assert mend.startswith("restore it from a backup")


def test_postgresql_that_does_not_answer_is_found_and_no_password_shown(state: Path) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/outcrop"

    ((what, mend),) = wrong(state, f'database_url = "{url}"\n{NO_ENGINE}').items()

    assert what.startswith("PostgreSQL at 127.0.0.1: ")
    assert "secret" not in what + mend


def test_postgresql_at_a_socket_is_called_by_its_folder(state: Path) -> None:
    url = f"postgresql://me:secret@/outcrop?host={state}/nowhere"

    ((what, _),) = wrong(state, f'database_url = "{url}"\n{NO_ENGINE}').items()

    assert what == f"PostgreSQL at {state}/nowhere: [Errno 2] No such file or directory"


def test_what_cannot_be_written_outside_the_state_folder_is_found(state: Path) -> None:
    config = f"""
[embedded]
enabled = false
[audit]
file = "{state}/credentials/audit.jsonl"
[invocation_logging]
folder = "{state}/credentials/logs"
cloudwatch_folder = "{state.parent}/to be made/logs"
"""

    assert list(wrong(state, config)) == [
        f"audit.file: {state}/credentials cannot be written",
        f"invocation_logging.folder: {state}/credentials/logs cannot be written",
    ]


def test_a_model_file_that_is_not_there_is_found(state: Path) -> None:
    config = '[embedded]\nmodel_path = "/nowhere/model.gguf"'

    assert wrong(state, config) == {
        "embedded.model_path = /nowhere/model.gguf": "there is no such file: correct the path"
    }


def findings(state: Path, cache: Path) -> list[str]:
    path = state.parent / "outcrop.toml"
    path.write_text(f'cache = "{cache}"')
    return [
        each.what for each in examine(config_path=path, state=state, url=None, clock=lambda: NOW)
    ]


def test_the_weights_of_both_embedded_models_are_looked_for(state: Path, tmp_path: Path) -> None:
    said = " / ".join(findings(state, tmp_path / "empty"))

    for name in ("SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"):
        assert f"weights of {name} are not here yet" in said


@pytest.mark.parametrize("folder", ["embedded", "embeddings"])
def test_an_embedded_model_that_fails_is_found(state: Path, tmp_path: Path, folder: str) -> None:
    shared = EmbeddedFolder(state, folder)
    shared.create()
    lock = Lock(shared.lock)
    assert lock.take()
    Board(shared.board).write(Published(failure="no index"))

    said = findings(state, tmp_path)
    lock.release()

    assert [what for what in said if what.endswith("model fails: no index")]


def test_model_servers_that_the_server_would_refuse_are_found(state: Path) -> None:
    port = free_port()
    table = (
        f'[[model_servers]]\nname = "gpu"\nurl = "http://127.0.0.1:{port}/v1"\n'
        'models = { "no.such-model" = "b" }\n'
    )

    found = wrong(state, NO_ENGINE + table)

    assert found["model server gpu: no.such-model is no model of the catalogue"]


def test_model_servers_that_do_not_answer_or_lack_their_key_are_found(state: Path) -> None:
    port = free_port()
    config = NO_ENGINE + "".join(
        f'[[model_servers]]\nname = "{name}"\nurl = "http://127.0.0.1:{port}/v1"\n'
        f'models = {{ a = "b" }}\n{more}\n'
        for name, more in (("down", ""), ("locked", 'api_key_env = "OUTCROP_TEST_NO_SUCH_KEY"'))
    )

    found = wrong(state, config)

    assert found[f"model server down at http://127.0.0.1:{port}/v1 does not answer"]
    assert any("OUTCROP_TEST_NO_SUCH_KEY" in what for what in found)


MODELS = b'{"data":[{"id":"llama","max_model_len":8192},{"id":"qwen:latest"}]}'


def model_server_findings(state: Path, url: str, served_as: str = "llama") -> dict[str, str]:
    """What is found about a model server, well or not."""
    path = state.parent / "outcrop.toml"
    path.write_text(
        f'{NO_ENGINE}[[model_servers]]\nname = "gpu"\nurl = "{url}/v1"\n'
        f'models = {{ "amazon.nova-lite-v1:0" = "{served_as}" }}\n'
    )
    findings = examine(config_path=path, state=state, url=None, clock=lambda: NOW)
    return {found.what: found.mend for found in findings if "model server gpu" in found.what}


def test_what_a_model_server_has_is_listed(state: Path) -> None:
    with server(200, MODELS) as url:
        found = model_server_findings(state, url)

    answers = f"model server gpu at {url}/v1 answers"
    assert found == {f"{answers}; its models: llama (8192 tokens), qwen:latest": ""}


@pytest.mark.parametrize(("name", "missing"), [("qwen", False), ("mistral", True)])
def test_a_model_that_its_server_does_not_have_is_found(
    state: Path, name: str, *, missing: bool
) -> None:
    with server(200, MODELS) as url:
        found = model_server_findings(state, url, name)

    said = f"model server gpu does not list {name}, named for amazon.nova-lite-v1:0"
    assert (said in found) is missing


@pytest.mark.parametrize(
    ("status", "body", "what", "mend"),
    [
        (401, b"{}", "refuses the key it is given (401)", "correct api_key_env"),
        (404, b"{}", "answers, and does not list its models", ""),
        (500, b"{}", "does not tell its models: gpu: status 500", "correct its url"),
        (200, b"<html>", "/models does not answer with a list of models", "correct its url"),
    ],
)
def test_a_model_server_that_answers_and_is_none_is_found(
    state: Path, status: int, body: bytes, what: str, mend: str
) -> None:
    with server(status, body) as url:
        ((found, advice),) = model_server_findings(state, url).items()

    assert what in found
    assert advice.startswith(mend)
    assert bool(advice) is bool(mend)


def test_a_certificate_that_is_not_believed_is_found(state: Path, tmp_path: Path) -> None:
    context = Certificates(tmp_path).server()
    with server(200, MODELS, tls=context) as url:
        ((what, mend),) = model_server_findings(state, url).items()

    assert "its certificate is not believed" in what
    assert mend.startswith("set tls.ca_file")


def test_a_server_of_another_state_is_found(state: Path) -> None:
    with server(
        403, b'{"message":"The security token included in the request is invalid."}'
    ) as url:
        ((what, mend),) = wrong(state, url=url).items()

    assert what == f"server at {url}: it refuses the root access key (403 Forbidden)"
    assert "--state" in mend


def test_a_clock_that_is_off_is_found(state: Path) -> None:
    with server(403, b"{}", NOW + timedelta(minutes=6)) as url:
        ((what, mend),) = wrong(state, url=url).items()

    assert what.endswith("its clock differs from this machine's by 360 seconds")
    assert "NTP" in mend


def test_another_program_on_the_port_is_found(state: Path) -> None:
    with server(200, b"<html>") as url:
        ((what, _),) = wrong(state, url=url).items()

    assert what == f"server at {url}: what answers is not Outcrop"


def test_something_that_speaks_no_http_is_found(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_talk_gibberish, args=(listener,)).start()
        # Twice: doctor first looks whether anybody answers.
        ((what, _),) = wrong(state, url=f"http://127.0.0.1:{listener.getsockname()[1]}").items()

    assert "no HTTP answer" in what


def _talk_gibberish(listener: socket.socket) -> None:
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 mail.example.net ESMTP\r\n")
