"""What clients were told and what the ledger says agree: after errors, cancels and kills.

OUTCROP_KILLS says how often (`make test-clients` asks for hundreds).
"""

import asyncio
import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from msgspec import Struct, json as msgspec_json

from outcrop.store.usage_records import UsageRecord, records_in
from tests.clients.scripted_server import USAGE, ScriptedServer, scripted_server
from tests.conformance.signing import Signer
from tests.outcrop_process import SEALING, OutcropProcess, outcrop_process
from tests.postgres import new_database, postgres_server

KILLS = int(os.environ.get("OUTCROP_KILLS", "8"))
MODEL = "amazon.nova-lite-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}"
CALLERS = 4
WITHIN_S = 15.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 5 * KILLS)]


class Told(Struct):
    """What one client saw."""

    complete: set[str]
    """Request ids of answers that arrived whole."""
    input_tokens: int = 0
    output_tokens: int = 0


def configuration(model_server: ScriptedServer, database_url: str | None = None) -> str:
    database = f'database_url = "{database_url}"\n' if database_url else ""
    return f"""{database}
log_level = "error"
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


def leave_early(signer: Signer, server: OutcropProcess) -> None:
    """Asks for a stream, reads its first bytes and hangs up."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).encode()
    path = f"{PATH}/converse-stream"
    headers = signer.headers("POST", path, body, headers={"content-type": "application/json"})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=15)
    connection.request("POST", path, body, headers)
    connection.getresponse().read(1)
    connection.close()


def converse_until_it_is_gone(signer: Signer, told: Told, lock: threading.Lock) -> None:
    while True:
        try:
            streams = random.random() < 0.5
            status, request_id, body = ask(
                signer, "hello", "converse-stream" if streams else "converse"
            )
        except OSError:
            return
        # A stream that was cut ends without its last event.
        if status == 200 and (not streams or b'"totalTokens":18' in body):
            with lock:
                told.complete.add(request_id)


def records(server_state: Path) -> list[UsageRecord]:

    with sqlite3.connect(server_state / "outcrop.sqlite3") as connection:
        rows = connection.execute("SELECT records FROM usage_records").fetchall()
    return [record for (frames,) in rows for record in records_in(frames)]


def cost_sums(server_state: Path) -> tuple[int, ...]:

    with sqlite3.connect(server_state / "outcrop.sqlite3") as connection:
        (row,) = connection.execute(
            "SELECT sum(invocations), sum(input_tokens), sum(output_tokens),"
            " sum(input_cost + output_cost) FROM usage_costs WHERE span_s = 86400"
        ).fetchall()
    return tuple(row)


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_kills_lose_no_answer_that_arrived_and_count_none_twice(tmp_path: Path) -> None:
    told, lock, state = Told(complete=set()), threading.Lock(), tmp_path / "state"
    with scripted_server() as model_server:
        config = configuration(model_server)
        for _ in range(KILLS):
            with outcrop_process(state, config=config, arguments=["--workers", "2"]) as server:
                callers = [
                    threading.Thread(
                        target=converse_until_it_is_gone, args=(Signer(server), told, lock)
                    )
                    for _ in range(CALLERS)
                ]
                for caller in callers:
                    caller.start()
                time.sleep(random.uniform(0.2, 0.9))
                kill_all(server)
                for caller in callers:
                    caller.join()
        # The next server takes up what the dead left behind.
        with outcrop_process(state, config=config) as server:
            last = ask(Signer(server), "hello")
            assert eventually(lambda: last[1] in {one.request_id for one in records(state)})
            assert eventually(lambda: len(list((state / "journal").glob("*.journal"))) == 1)

    assert len(told.complete) > 10
    times = Counter(record.request_id for record in records(state))
    assert {request_id for request_id in told.complete if times[request_id] != 1} == set()
    assert set(times.values()) == {1}
    invocations = sum(_answered(record) for record in records(state))
    assert cost_sums(state)[0] == invocations


def test_clients_and_ledger_agree_after_errors_and_cancels(tmp_path: Path) -> None:
    state = tmp_path / "state"
    asked = {"hello": 12, "Answer 429.": 3, "Answer 400.": 2, "Answer 500.": 2, "Break off.": 4}
    with (
        scripted_server() as model_server,
        outcrop_process(
            state, config=configuration(model_server), arguments=["--workers", "2"]
        ) as server,
    ):
        signer = Signer(server)
        for text, number in asked.items():
            for turn in range(number):
                ask(signer, text, "converse-stream" if turn % 2 else "converse")
        for _ in range(3):
            leave_early(signer, server)
        total = sum(asked.values()) + 3
        assert eventually(lambda: len(records(state)) == total), len(records(state))
        found = records(state)
        sums = cost_sums(state)

    whole = [one for one in found if one.outcome == "success" and not one.estimated]
    usage = USAGE["prompt_tokens"], USAGE["completion_tokens"]
    assert {(one.input_tokens, one.output_tokens) for one in whole} == {usage}
    # A client that left may have been sent all of it already.
    assert 12 <= len(whole) <= 15
    outcomes = Counter(one.outcome for one in found)
    assert outcomes["throttle"] == 3
    assert outcomes["client_error"] == 2
    assert outcomes["server_error"] == 6
    assert sums[1:] == (
        sum(one.input_tokens for one in found),
        sum(one.output_tokens for one in found),
        sum(one.cost for one in found),
    )
    # By hand: 0.00006 dollars an input token, 0.00024 an output token.
    assert sums[3] == sums[1] * 60_000_000 + sums[2] * 240_000_000


def test_the_command_tells_what_was_used(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with scripted_server() as model_server:
        config = configuration(model_server)
        with outcrop_process(state, config=config) as server:
            signer = Signer(server)
            arn = create_profile(signer)
            path = f"/model/{arn.replace(':', '%3A').replace('/', '%2F')}/converse"
            body = b'{"messages":[{"role":"user","content":[{"text":"hello"}]}]}'
            signer.ask("POST", path, body, headers={"content-type": "application/json"})
            assert eventually(lambda: len(records(state)) == 1)

            def usage(*arguments: str) -> str:
                return command(state, *arguments)

            (line,) = msgspec_json.decode(usage("--by", "tag:team", "--by", "profile", "--json"))
            table = usage("--by", "day", "--by", "tag:team")
            focus = usage("--csv", "--by", "tag:team").splitlines()

    assert line["keys"] == ["blue", arn]
    # 11 in, 7 out.
    assert (line["tokens"], line["cost_usd"]) == (18, "0.002340000000")
    assert "blue" in table
    assert "0.002340" in table
    assert len(focus) == 3
    assert focus[0].startswith("BilledCost,BillingAccountId,BillingCurrency")
    assert '"{""team"":""blue""}"' in focus[1]


def create_profile(signer: Signer) -> str:
    body = {
        "inferenceProfileName": "blue",
        "modelSource": {"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"},
        "tags": [{"key": "team", "value": "blue"}],
    }
    answer = signer.ask("POST", "/inference-profiles", json.dumps(body).encode())
    return str(json.loads(answer.body)["inferenceProfileArn"])


def command(state: Path, *arguments: str) -> str:

    printed = subprocess.run(
        [
            *(sys.executable, "-m", "outcrop", "usage", "--state", str(state)),
            *("--config", str(state / "config.toml"), *arguments),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return printed.stdout


def kill_all(server: OutcropProcess) -> None:
    """As a machine that fails: no process of it says farewell."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    server.process.wait(10)


def _answered(record: UsageRecord) -> bool:
    return record.outcome == "success" or (
        record.outcome == "cancelled" and record.first_event_us is not None
    )


def test_two_machines_keep_one_ledger(tmp_path: Path) -> None:
    """Two state folders, one PostgreSQL; one machine fails, and comes back."""
    told, lock = Told(complete=set()), threading.Lock()
    states = tmp_path / "one", tmp_path / "other"
    with postgres_server() as postgres, scripted_server() as model_server:
        url = new_database(postgres, "ledger")
        config = configuration(model_server, url)
        with (
            outcrop_process(states[0], config=config, environment=SEALING) as one,
            outcrop_process(states[1], config=config, environment=SEALING) as other,
        ):
            callers = [
                threading.Thread(
                    target=converse_until_it_is_gone, args=(Signer(server), told, lock)
                )
                for server in (one, other)
            ]
            for caller in callers:
                caller.start()
            time.sleep(1.0)
            kill_all(other)
            kill_all(one)
            for caller in callers:
                caller.join()
        for state in states:
            with outcrop_process(state, config=config, environment=SEALING):
                pass
        found = Counter(record.request_id for record in postgres_records(url))

    assert len(told.complete) > 4
    assert {request_id for request_id in told.complete if found[request_id] != 1} == set()
    assert set(found.values()) == {1}


def postgres_records(url: str) -> list[UsageRecord]:
    async def main() -> list[UsageRecord]:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT records FROM usage_records")
        finally:
            await connection.close()
        return [record for (frames,) in rows for record in records_in(frames)]

    return asyncio.run(main())
