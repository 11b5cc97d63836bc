"""A server with identities, made as an operator makes them; and boto3 with their credentials."""

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from tests.boto3_client import client_of
from tests.fakes.model_server import Answers, delta, in_thread, sse, usage
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.secrets_in_play import note
from tests.waiting import eventually

T = TypeVar("T")
MODEL = "amazon.nova-lite-v1:0"
PROFILE = f"us.{MODEL}"
SAYS = [sse(delta("Hello"), delta(finish_reason="stop"), usage(3, 1))]


class Operator:
    """Gives orders on the command line."""

    def __init__(self, server: OutcropProcess, folder: Path, *, is_secure: bool) -> None:
        self.server = server
        self.is_secure = is_secure
        self.folder = folder
        self.account_id = server.credentials.account_id
        self._audit = server.state.parent / "audit.jsonl"
        self._ca_file = str(server.state / "tls" / "ca.pem") if is_secure else None
        self._clients: list[Any] = []

    def order(self, *words: str) -> str:
        """What the command prints. Raises CalledProcessError."""
        state = ["--state", str(self.server.state), "--config"]
        command = [*words, *state, str(self.server.state / "config.toml")]
        done = subprocess.run(
            [sys.executable, "-m", "outcrop", *command], check=True, capture_output=True, text=True
        )
        return done.stdout

    def document(self, name: str, *statements: Mapping[str, Any]) -> str:
        """The path of a policy document."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
        return str(path)

    def user(self, name: str, *statements: Mapping[str, Any], account: str | None = None) -> None:
        document = self.document(name, *statements)
        self.order("users", "put", name, "--inline", document, *_of_account(account))

    def key(self, *options: str) -> dict[str, str]:
        """boto3's arguments."""
        printed = self.order("keys", "create", *options)
        key = dict(line.split(" = ", 1) for line in printed.splitlines())
        note(key["aws_secret_access_key"], "a user's secret access key")
        return key

    def client(self, service: str, key: Mapping[str, str], region: str = "us-east-1") -> Any:
        return self._kept(client_of(self.server, service, region, key=key, ca_file=self._ca_file))

    def root(self, service: str) -> Any:
        return self._kept(client_of(self.server, service, ca_file=self._ca_file))

    def trail(self) -> list[Any]:
        """The lines of the audit trail: those of every call that is answered."""
        return [json.loads(line) for line in self._audit.read_text().splitlines()]

    def logged(self, wanted: Callable[[Any], bool]) -> Any:
        """The first line of the log that is so; the server gathers its lines for a moment."""

        def find() -> Any:
            lines = self.server.log.read_text().splitlines()
            found = (json.loads(line) for line in lines if line.startswith("{"))
            return next(filter(wanted, found), None)

        return soon(find)

    def leave(self) -> None:
        """Over TLS a server that stops would wait for the farewell of each client."""
        for client in self._clients:
            client.close()

    def _kept(self, client: Any) -> Any:
        self._clients.append(client)
        return client


def _of_account(account_id: str | None) -> list[str]:
    return [] if account_id is None else ["--account", account_id]


@contextmanager
def operator(
    folder: Path,
    *,
    is_secure: bool = False,
    more: str = "",
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Generator[Operator]:
    """`more`: of the configuration, after all that is here.

    Whom a client says that it is forwarded for is believed.
    """
    with in_thread(Answers(SAYS)) as fake:
        config = f"""
            trusted_proxies = ["127.0.0.1"]
            [embedded]
            enabled = false
            [audit]
            file = "{folder}/audit.jsonl"
            [[model_servers]]
            name = "gpu"
            url = "{fake.url}"
            models = {{ "{MODEL}" = "nova" }}
            {more}
            """
        (folder / "documents").mkdir()
        with outcrop_process(
            folder / "state",
            config=config,
            arguments=(*arguments, *(["--tls"] if is_secure else [])),
            environment=environment,
        ) as server:
            opened = Operator(server, folder / "documents", is_secure=is_secure)
            yield opened
            opened.leave()


def soon(find: Callable[[], T | None]) -> T:
    """What it finds as soon as it finds something."""
    found: list[T] = []

    def look() -> bool:
        found.extend(one for one in [find()] if one is not None)
        return bool(found)

    assert eventually(look), "it was not seen"
    return found[0]


def forwarded_for(client: Any, address: str) -> Any:
    """The same client, from another address."""

    def add(params: Any, **_: Any) -> None:
        params["headers"]["X-Forwarded-For"] = address

    client.meta.events.register("before-call", add)
    return client


def converse(client: Any, model_id: str = MODEL) -> str:
    message = {"role": "user", "content": [{"text": "hi"}]}
    answer = client.converse(modelId=model_id, messages=[message])
    text: str = answer["output"]["message"]["content"][0]["text"]
    return text


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Code and message."""
    found = _refusal(call)
    assert found, "it was allowed"
    return found


def refusal_soon(call: Callable[[], object]) -> tuple[str, str]:
    """Code and message, once the server follows a change."""
    return soon(lambda: _refusal(call))


def _refusal(call: Callable[[], object]) -> tuple[str, str] | None:
    # Kept by nobody: an exception holds on to all it went through, connections included.
    try:
        call()
    except ClientError as refused:
        error = refused.response["Error"]
        return error["Code"], error["Message"]
    return None


def allow(*actions: str, resource: Any = "*", **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **rest}


def deny(*actions: str, resource: Any = "*", **rest: Any) -> dict[str, Any]:
    return {**allow(*actions, resource=resource, **rest), "Effect": "Deny"}
