"""Servers that are asked by several callers until somebody kills them."""

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from benchmarks.processes import family
from tests.clients.scripted_server import ScriptedServer
from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

KILLS = int(os.environ.get("OUTCROP_KILLS", "8"))
MODEL = "amazon.nova-lite-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}"
_CALLERS = 4
_MOST_ANSWERS = 30
"""At a moment before so many, a server is killed."""
_SERVES_AGAIN = b' serves again"'


def configuration(model_server: ScriptedServer, database_url: str | None = None) -> str:
    database = f'database_url = "{database_url}"\n' if database_url else ""
    return f"""{database}
log_level = "warning"
[embedded]
enabled = false
[[model_servers]]
name = "gpu"
url = "{model_server.url}"
models = {{ "{MODEL}" = "m" }}
[[prices]]
model = "{MODEL}"
input_per_1k = 0.06
output_per_1k = 0.24
"""


def ask(signer: Signer, text: str, operation: str = "converse") -> tuple[int, str, bytes]:
    """Status, request id and body."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()
    headers = {"content-type": "application/json"}
    answer = signer.ask("POST", f"{PATH}/{operation}", body, headers=headers)
    return answer.status, answer.headers["x-amzn-requestid"], answer.body


Kill: TypeAlias = Callable[[OutcropProcess], None]


@dataclass
class Told:
    """What clients saw."""

    complete: set[str] = field(default_factory=set)
    """Request ids of answers that arrived whole."""

    def some_more(self, most: int = _MOST_ANSWERS) -> bool:
        """Returns when a random number of further answers has arrived, or none does."""
        enough = len(self.complete) + random.randint(1, most)
        return eventually(lambda: len(self.complete) >= enough)


@contextmanager
def asked_until_gone(
    servers: Sequence[OutcropProcess], told: Told, kill: Kill | None = None
) -> Generator[None]:
    """The servers are killed when the block ends."""
    callers = [
        threading.Thread(target=_converse_until_it_is_gone, args=(Signer(server), told))
        for server in servers
        for _ in range(_CALLERS)
    ]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        for server in servers:
            (kill or kill_all)(server)
        for caller in callers:
            caller.join()


def killed_again_and_again(state: Path, config: str, told: Told) -> None:
    """Two workers, who are killed at a random moment under load, KILLS times."""
    for _ in range(KILLS):
        with (
            outcrop_process(state, config=config, arguments=["--workers", "2"]) as server,
            asked_until_gone([server], told),
        ):
            assert told.some_more()


def kill_all(server: OutcropProcess) -> None:
    """As a machine that fails: no process of it says farewell."""
    if server.process.poll() is None:
        for pid in family(server.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    server.process.wait(10)


def lose_one(server: OutcropProcess, among: Sequence[int] = ()) -> None:
    """A worker or the bookkeeper, or one of those named, says no farewell.

    Returns when another is in its place.
    """
    before = server.log.read_bytes().count(_SERVES_AGAIN)
    _, *children = family(server.process.pid)
    os.kill(random.choice(among or children), signal.SIGKILL)
    # Whoever is lost again soon is replaced later.
    assert eventually(lambda: server.log.read_bytes().count(_SERVES_AGAIN) > before, 30)


def _converse_until_it_is_gone(signer: Signer, told: Told) -> None:
    while True:
        streams = random.random() < 0.5
        try:
            status, request_id, body = ask(
                signer, "hello", "converse-stream" if streams else "converse"
            )
        except ConnectionRefusedError:
            return
        except OSError:
            continue  # it was cut; perhaps there are other workers
        # A stream that was cut ends without its last event.
        if status == 200 and (not streams or b'"totalTokens":18' in body):
            told.complete.add(request_id)
