"""Secrets of a session turn up nowhere: not in the log, in answers, in crashes or in `ps`."""

import base64
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.boto3_client import client_of
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import ended_within, workers
from tests.server.wire import ask, post
from tests.waiting import eventually

SESSION_TOKEN = "FwoGZXIvYXdzEBYaDKtHc2Vzc2lvbi10b2tlbi1zZWNyZXQ"
BEARER_KEYS = (
    "ABSKQmVkcm9ja0FQSUtleS1sb25nLXRlcm0tc2VjcmV0",
    "bedrock-api-key-c2hvcnQtdGVybS1zZWNyZXQtb2Yta2V5",
    "no-prefix-but-still-a-secret",
)
SERVER_KEY = "sk-the-key-of-a-model-server"
PASSWORD = "the-password-of-a-database"
WRONG_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYWRONGKEY00"
MODEL_ID = "amazon.nova-lite-v1:0"

CONFIG = f"""
log_level = "debug"

[[model_servers]]
name = "gone"
url = "http://127.0.0.1:1/v1"
models = {{ "{MODEL_ID}" = "nova" }}
api_key_env = "GONE_KEY"
"""


class Session:
    """What one server was asked, and all that it let out."""

    def __init__(self, server: OutcropProcess) -> None:
        self.server = server
        self.answers: list[str] = []
        self.commands: list[bytes] = []
        self._ca_file = server.environment()["AWS_CA_BUNDLE"]

    def secrets(self) -> Iterator[bytes]:
        yield self.server.credentials.secret_access_key.encode()
        yield from (key.encode() for key in BEARER_KEYS)
        yield from map(str.encode, (SESSION_TOKEN, SERVER_KEY, WRONG_SECRET))
        for name in ("server.key", "ca.key"):
            pem = (self.server.state / "tls" / name).read_bytes()
            yield from pem.splitlines()[1:-1]
            yield _scalar(pem)

    def run(self) -> None:
        secret = self.server.credentials.secret_access_key
        for key, token in ((secret, None), (WRONG_SECRET, None), (secret, SESSION_TOKEN)):
            self._ask(key, token)
        client = ssl.create_default_context(cafile=self._ca_file)
        for header in (
            *(f"Authorization: Bearer {key}" for key in BEARER_KEYS),
            f"Authorization: AWS4-HMAC-SHA256 Credential={SESSION_TOKEN}",
            f"X-Amz-Security-Token: {SESSION_TOKEN}",
            "X: " + SESSION_TOKEN * 2_000,
            f"Broken {SESSION_TOKEN}",
        ):
            answer = ask(self.server.port, post("/model/x/converse", b"{", header), client)
            self.answers.append(f"{answer}")
        path = f"/model/x/converse?X-Amz-Security-Token={SESSION_TOKEN}&X-Amz-Signature=0"
        self.answers.append(f"{ask(self.server.port, post(path, b'{}'), client)}")

    def _ask(self, secret: str, token: str | None) -> None:
        key = {
            "aws_access_key_id": self.server.credentials.access_key_id,
            "aws_secret_access_key": secret,
            "aws_session_token": token,
        }
        runtime = client_of(self.server, "bedrock-runtime", key=key, ca_file=self._ca_file)
        message = {"role": "user", "content": [{"text": "hello"}]}
        with pytest.raises(ClientError) as refused:
            runtime.converse(modelId=MODEL_ID, messages=[message])
        self.answers.append(f"{refused.value.response}")

    def look(self) -> None:
        """As `ps` does: the command lines of the server and all that it started."""
        for pid in (self.server.process.pid, *_descendants(self.server.process.pid)):
            self.commands.append(Path(f"/proc/{pid}/cmdline").read_bytes())

    def crash(self) -> None:
        """With a dump of every thread's stack, as faulthandler writes it."""
        (worker,) = workers(self.server)
        os.kill(worker, signal.SIGABRT)
        assert ended_within([worker], 10)


def _scalar(pem: bytes) -> bytes:
    key: Any = load_pem_private_key(pem, password=None)
    return base64.b64encode(key.private_numbers().private_value.to_bytes(32, "big"))[:40]


def _descendants(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from _descendants(int(child))


@pytest.mark.slow
def test_secrets_of_a_session_turn_up_nowhere(tmp_path: Path) -> None:
    environment = {"GONE_KEY": SERVER_KEY, "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    with outcrop_process(
        tmp_path, config=CONFIG, arguments=("--tls",), environment=environment
    ) as server:
        session = Session(server)
        secrets = list(session.secrets())
        session.run()
        session.look()
        limits = Path(f"/proc/{workers(server)[0]}/limits").read_text()
        # Request lines are gathered for a moment.
        assert eventually(lambda: b'"operation":"Converse"' in server.log.read_bytes())
        session.crash()

    log = server.log.read_bytes()
    assert b'"operation":"Converse"' in log
    assert b"Fatal Python error: Aborted" in log
    assert "Max core file size        0                    0" in limits
    assert len(session.commands) >= 2
    everything = b"\n".join([log, *session.commands, *map(str.encode, session.answers)])
    assert [secret for secret in secrets if secret in everything] == []
    assert b"Signature=" not in log
    assert not list(tmp_path.glob("core*"))


@pytest.mark.slow
def test_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path: Path) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text(f'database_url = "postgresql://outcrop:{PASSWORD}@127.0.0.1:1/outcrop"')
    command = [sys.executable, "-m", "outcrop", "serve", "--listen", "127.0.0.1:0"]

    ended = subprocess.run(
        [*command, "--state", tmp_path, "--config", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "outcrop: cannot serve:" in ended.stderr
    assert PASSWORD not in ended.stderr + ended.stdout


def test_a_configuration_that_cannot_be_used_is_told_without_its_password(tmp_path: Path) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text(f'database_url = "postgresql://outcrop:{PASSWORD}@x/y"\nlistne = 1')
    bad_scheme = tmp_path / "scheme.toml"
    bad_scheme.write_text(f'database_url = "mysql://outcrop:{PASSWORD}@x/y"')

    for file in (path, bad_scheme):
        ended = subprocess.run(
            [sys.executable, "-m", "outcrop", "check-config", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1
        assert PASSWORD not in ended.stderr + ended.stdout
