"""What clients were told and what the ledger says agree: after errors, cancels and kills.

OUTCROP_KILLS says how often (`make test-clients` asks for hundreds).
"""

import asyncio
import http.client
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from msgspec import json as msgspec_json

from outcrop.store.usage_records import UsageRecord, records_in
from tests.clients.scripted_server import USAGE, scripted_server
from tests.conformance.kills import (
    KILLS,
    MODEL,
    PATH,
    Told,
    ask,
    asked_until_gone,
    configuration,
    killed_again_and_again,
    lose_one,
)
from tests.conformance.signing import Signer
from tests.outcrop_process import SEALING, OutcropProcess, outcrop_process
from tests.postgres import new_database, postgres_server
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 5 * KILLS)]

LOSSES = 4
"""Of workers; who is lost again soon is replaced ever later."""


def leave_early(signer: Signer, server: OutcropProcess) -> None:
    """Asks for a stream, reads its first bytes and hangs up."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).encode()
    path = f"{PATH}/converse-stream"
    headers = signer.headers("POST", path, body, headers={"content-type": "application/json"})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=15)
    connection.request("POST", path, body, headers)
    connection.getresponse().read(1)
    connection.close()


def records(server_state: Path) -> list[UsageRecord]:
    with closing(sqlite3.connect(server_state / "outcrop.sqlite3")) as connection:
        rows = connection.execute("SELECT records FROM usage_records").fetchall()
    return [record for (frames,) in rows for record in records_in(frames)]


def cost_sums(server_state: Path) -> tuple[int, ...]:
    with closing(sqlite3.connect(server_state / "outcrop.sqlite3")) as connection:
        (row,) = connection.execute(
            "SELECT sum(invocations), sum(input_tokens), sum(output_tokens),"
            " sum(input_cost + output_cost) FROM usage_costs WHERE span_s = 86400"
        ).fetchall()
    return tuple(row)


def test_kills_lose_no_answer_that_arrived_and_count_none_twice(tmp_path: Path) -> None:
    told, state = Told(), tmp_path / "state"
    with scripted_server() as model_server:
        config = configuration(model_server)
        killed_again_and_again(state, config, told)
        # The next server takes up what the dead left behind.
        with outcrop_process(state, config=config) as server:
            last = ask(Signer(server), "hello")
            assert eventually(lambda: last[1] in {one.request_id for one in records(state)})
            assert eventually(lambda: len(list((state / "journal").glob("*.journal"))) == 1)

    assert len(told.complete) >= KILLS
    all_are_counted_once(told, state)


def test_lost_workers_lose_no_answer_that_arrived_and_count_none_twice(tmp_path: Path) -> None:
    told, state = Told(), tmp_path / "state"
    with scripted_server() as model_server:
        config = configuration(model_server)
        with (
            outcrop_process(state, config=config, arguments=["--workers", "2"]) as server,
            asked_until_gone([server], told, end_well),
        ):
            for _ in range(LOSSES):
                assert told.some_more()
                lose_one(server)
            assert told.some_more()
            # Those who serve take up what the lost ones left behind, and have one each.
            assert eventually(lambda: len(list((state / "journal").glob("*.journal"))) == 2)
        with outcrop_process(state, config=config) as server:
            last = ask(Signer(server), "hello")
            assert eventually(lambda: last[1] in {one.request_id for one in records(state)})

    all_are_counted_once(told, state)


def end_well(server: OutcropProcess) -> None:
    assert server.stop() == 0


def all_are_counted_once(told: Told, state: Path) -> None:
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
    assert focus[0].startswith("BilledCost,BillingAccountId,BillingAccountName,")
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


def _answered(record: UsageRecord) -> bool:
    return record.outcome == "success" or (
        record.outcome == "cancelled" and record.first_event_us is not None
    )


def test_two_machines_keep_one_ledger(tmp_path: Path) -> None:
    """Two state folders, one PostgreSQL; one machine fails, and comes back."""
    told = Told()
    states = tmp_path / "one", tmp_path / "other"
    with postgres_server() as postgres, scripted_server() as model_server:
        url = new_database(postgres, "ledger")
        config = configuration(model_server, url)
        with (
            outcrop_process(states[0], config=config, environment=SEALING) as one,
            outcrop_process(states[1], config=config, environment=SEALING) as other,
            asked_until_gone([other, one], told),
        ):
            assert told.some_more()
        for state in states:
            with outcrop_process(state, config=config, environment=SEALING):
                pass
        found = Counter(record.request_id for record in postgres_records(url))

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
