"""The invocation log and the audit trail of a real server: after kills, streams and refusals.

OUTCROP_KILLS says how often (`make test-clients` asks for hundreds).
"""

import gzip
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.clients.scripted_server import GREETING, scripted_server
from tests.conformance.kills import KILLS, MODEL, Told, ask, configuration, killed_again_and_again
from tests.conformance.signing import Signer
from tests.outcrop_process import outcrop_process
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90 + 5 * KILLS)]

PATH = "/logging/modelinvocations"
LOGGED: Any = {"loggingConfig": {"s3Config": {"bucketName": "logs", "keyPrefix": "team"}}}


def logging_to(folder: Path, base: str, *, batch_s: float = 0.3) -> str:
    return f"""{base}
[invocation_logging]
folder = "{folder}"
batch_s = {batch_s}
[audit]
file = "{folder.parent}/audit.jsonl"
"""


def put(signer: Signer, config: Any) -> int:
    headers = {"content-type": "application/json"}
    return signer.ask("PUT", PATH, json.dumps(config).encode(), headers=headers).status


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*Z_*.json.gz") if "data" not in path.parts]


def logged(folder: Path) -> list[Any]:
    return [
        json.loads(line)
        for path in files(folder)
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def test_kills_lose_no_record_of_an_answer_that_arrived_and_double_none(tmp_path: Path) -> None:
    told, state, folder = Told(), tmp_path / "state", tmp_path / "buckets"
    with scripted_server() as model_server:
        config = logging_to(folder, configuration(model_server))
        with outcrop_process(state, config=config) as server:
            assert put(Signer(server), LOGGED) == 200
        killed_again_and_again(state, config, told)
        # The next server takes up what the dead left behind.
        with outcrop_process(state, config=config) as server:
            last = ask(Signer(server), "hello")
            assert eventually(lambda: last[1] in {one["requestId"] for one in logged(folder)})
            spool = state / "invocation-log"
            assert eventually(lambda: list(spool.glob("*.journal")) == [])

    assert len(told.complete) >= KILLS
    times = Counter(one["requestId"] for one in logged(folder))
    assert {request_id for request_id in told.complete if times[request_id] != 1} == set()
    assert set(times.values()) == {1}


@pytest.mark.parametrize("metered", [True, False])
def test_what_was_said_is_logged_whether_or_not_what_was_used_is_recorded(
    tmp_path: Path, *, metered: bool
) -> None:
    state, folder = tmp_path / "state", tmp_path / "buckets"
    with scripted_server() as model_server:
        config = logging_to(folder, configuration(model_server))
        config += f"[metering]\nenabled = {str(metered).lower()}\n"
        with outcrop_process(state, config=config) as server:
            signer = Signer(server)
            assert put(signer, LOGGED) == 200
            asked = {ask(signer, "hello")[1] for _ in range(3)}
    with closing(sqlite3.connect(state / "outcrop.sqlite3")) as store:
        (blocks,) = store.execute("SELECT COUNT(*) FROM usage_records").fetchone()

    assert {one["requestId"] for one in logged(folder)} == asked
    assert (blocks > 0) is metered


def test_what_was_said_is_logged_and_what_was_called_is_audited(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "buckets"
    with scripted_server() as model_server:
        config = logging_to(folder, configuration(model_server))
        with outcrop_process(state, config=config) as server:
            signer = Signer(server)
            assert put(signer, {"loggingConfig": {}}) == 400
            assert put(signer, LOGGED) == 200
            got = json.loads(signer.ask("GET", PATH).body)
            _, whole, _ = ask(signer, "hello")
            _, streamed, _ = ask(signer, "hello", "converse-stream")
            _, refused, _ = ask(signer, "Answer 429.")
            assert signer.ask("DELETE", PATH).status == 200
            assert json.loads(signer.ask("GET", PATH).body) == {}
            _, unlogged, _ = ask(signer, "hello")

    records = {one["requestId"]: one for one in logged(folder)}
    trail = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]

    assert got == LOGGED
    assert set(records) == {whole, streamed, refused}
    asked = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    one = records[whole]
    assert (one["operation"], one["modelId"]) == ("Converse", MODEL)
    assert one["input"] == {
        "inputContentType": "application/json",
        "inputBodyJson": asked,
        "inputTokenCount": 11,
    }
    message = one["output"]["outputBodyJson"]["output"]["message"]
    assert message["content"] == [{"text": GREETING}]
    events = records[streamed]["output"]["outputBodyJson"]
    assert events[0] == {"messageStart": {"role": "assistant"}}
    deltas = [
        event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event
    ]
    assert "".join(delta["text"] for delta in deltas) == GREETING
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 7
    assert records[refused]["errorCode"] == "ThrottlingException"

    tell_of_the_calls(trail)
    assert trail[-1]["requestID"] == unlogged


def tell_of_the_calls(trail: list[Any]) -> None:
    assert [one["eventName"] for one in trail] == [
        "PutModelInvocationLoggingConfiguration",
        "PutModelInvocationLoggingConfiguration",
        "GetModelInvocationLoggingConfiguration",
        "Converse",
        "ConverseStream",
        "Converse",
        "DeleteModelInvocationLoggingConfiguration",
        "GetModelInvocationLoggingConfiguration",
        "Converse",
    ]
    assert trail[0]["errorCode"] == "ValidationException"
    assert trail[1]["requestParameters"] == LOGGED
    assert trail[3]["requestParameters"] == {"modelId": MODEL}
    assert {one["sourceIPAddress"] for one in trail} == {"127.0.0.1"}


def test_a_stop_delivers_what_waits(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "buckets"
    with scripted_server() as model_server:
        config = logging_to(folder, configuration(model_server), batch_s=3600)
        with outcrop_process(state, config=config) as server:
            signer = Signer(server)
            put(signer, LOGGED)
            _, request_id, _ = ask(signer, "hello")
            assert logged(folder) == []
            assert server.stop() == 0

    assert [one["requestId"] for one in logged(folder)] == [request_id]
    assert list((state / "invocation-log").iterdir()) == []
