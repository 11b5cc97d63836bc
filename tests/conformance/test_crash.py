"""`kill -9` at any moment under load: what was acknowledged is there, and nothing is half there.

OUTCROP_KILLS says how often (`make test-clients` asks for hundreds).
"""

import json
import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.kills import kill_all
from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process

KILLS = int(os.environ.get("OUTCROP_KILLS", "12"))
WRITERS = 3
CONFIG = """
log_level = "error"
[inference_profiles]
quota = 1000000
[provisioned_throughput]
quota = 1000000
creating_s = 0
[embedded]
start = "first_use"
"""
PROFILE_SOURCE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 + 3 * KILLS)]


@dataclass
class Acknowledged:
    """What the server said yes to, by ARN; `unsure` may be there or not."""

    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)


def write(signer: Signer, known: Acknowledged, names: Iterator[int], lock: threading.Lock) -> None:
    """Creates and deletes until the server is gone."""
    while True:
        name = f"crash-{next(names)}"
        try:
            arn = create_profile(signer, name) if random.random() < 0.5 else buy(signer, name)
        except OSError:
            return
        with lock:
            known.there[arn] = name
        if random.random() < 0.3:
            with lock:
                victim = random.choice(sorted(known.there)) if known.there else ""
                if victim:
                    known.unsure.add(victim)
                    del known.there[victim]
            if victim and not delete(signer, known, victim, lock):
                return


def create_profile(signer: Signer, name: str) -> str:
    body = {
        "inferenceProfileName": name,
        "modelSource": {"copyFrom": PROFILE_SOURCE},
        "tags": [{"key": "name", "value": name}],
    }
    answer = signer.ask("POST", "/inference-profiles", json.dumps(body).encode())
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["inferenceProfileArn"])


def buy(signer: Signer, name: str) -> str:
    body = {
        "provisionedModelName": name,
        "modelId": "amazon.nova-lite-v1:0:24k",
        "modelUnits": 1,
        "tags": [{"key": "name", "value": name}],
    }
    answer = signer.ask("POST", "/provisioned-model-throughput", json.dumps(body).encode())
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["provisionedModelArn"])


def delete(signer: Signer, known: Acknowledged, arn: str, lock: threading.Lock) -> bool:
    kind = "inference-profiles" if "inference-profile" in arn else "provisioned-model-throughput"
    try:
        answer = signer.ask("DELETE", f"/{kind}/{arn.replace('/', '%2F')}")
    except OSError:
        return False
    with lock:
        known.unsure.discard(arn)
        if answer.status == 200:
            known.gone.add(arn)
        else:
            # Still Creating: it stays.
            assert answer.error == "ConflictException", answer
            known.there[arn] = ""
    return True


def listed(signer: Signer) -> dict[str, str]:
    """ARN to name, of everything that both listings list."""
    found: dict[str, str] = {}
    for path, items, prefix in (
        ("/inference-profiles?type=APPLICATION", "inferenceProfileSummaries", "inferenceProfile"),
        (
            "/provisioned-model-throughputs?sortOrder=Ascending",
            "provisionedModelSummaries",
            "provisionedModel",
        ),
    ):
        token = ""
        while True:
            answer = signer.ask("GET", path + token)
            assert answer.status == 200, answer
            page = json.loads(answer.body)
            for item in page[items]:
                assert item[f"{prefix}Arn"] not in found
                found[item[f"{prefix}Arn"]] = item[f"{prefix}Name"]
            if "nextToken" not in page:
                break
            token = f"&nextToken={page['nextToken']}"
    return found


def load_until_killed(server: OutcropProcess, known: Acknowledged, names: Iterator[int]) -> None:
    signer, lock = Signer(server), threading.Lock()
    writers = [
        threading.Thread(target=write, args=(signer, known, names, lock)) for _ in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    writers[0].join(random.uniform(0.02, 0.25))
    kill_all(server)
    for writer in writers:
        writer.join()


def check(server: OutcropProcess, known: Acknowledged) -> None:
    signer = Signer(server)
    found = listed(signer)
    assert known.there.keys() - found.keys() == set()
    assert known.gone & found.keys() == set()
    for arn in random.sample(sorted(found), min(3, len(found))):
        tags = signer.ask("POST", "/listTagsForResource", json.dumps({"resourceARN": arn}).encode())
        assert json.loads(tags.body) == {"tags": [{"key": "name", "value": found[arn]}]}
    assert_units_are_held(server.state / "outcrop.sqlite3")
    # What was unsure is known now.
    known.unsure.clear()
    known.there = dict.fromkeys(found, "")


def assert_units_are_held(database: Path) -> None:
    """By as many as are in service, each of which has one unit."""
    with closing(sqlite3.connect(database)) as connection:
        ((held, in_service),) = connection.execute(
            "SELECT (SELECT COALESCE(SUM(units), 0) FROM capacity_holds), (SELECT COUNT(*)"
            " FROM provisioned_model_throughputs WHERE status IN ('InService', 'Updating'))"
        )
    assert held == in_service


def test_nothing_acknowledged_is_lost_however_often_the_server_is_killed(tmp_path: Path) -> None:
    known, names = Acknowledged(), iter(range(10**9))

    for _ in range(KILLS):
        with outcrop_process(tmp_path / "state", config=CONFIG) as server:
            check(server, known)
            load_until_killed(server, known, names)

    with outcrop_process(tmp_path / "state", config=CONFIG) as server:
        check(server, known)
    assert len(known.there) > KILLS
