"""Several servers and several workers on one store are one Bedrock."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

import pytest

from outcrop.store.capacity import Capacity
from outcrop.store.store import open_database
from tests.conformance.signing import Signer
from tests.outcrop_process import SEALING, outcrop_process
from tests.postgres import drop_database, new_database, postgres_server

SOURCE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
QUICK = "[provisioned_throughput]\ncreating_s = 0.1\n"


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with postgres_server() as server:
        url = new_database(server, "many_servers")
        yield url
        drop_database(server, "many_servers")


@pytest.fixture
def new_url() -> Iterator[str]:
    """Of a database that nobody else is in."""
    with postgres_server() as server:
        yield new_database(server, "sold")


def created(signer: Signer, name: str) -> str:
    body = {"inferenceProfileName": name, "modelSource": {"copyFrom": SOURCE}}
    answer = signer.ask("POST", "/inference-profiles", json.dumps(body).encode())
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["inferenceProfileArn"])


def arns(signer: Signer) -> set[str]:
    answer = signer.ask("GET", "/inference-profiles?type=APPLICATION")
    listed = json.loads(answer.body)["inferenceProfileSummaries"]
    return {profile["inferenceProfileArn"] for profile in listed}


def status(signer: Signer, arn: str) -> str:
    path = f"/provisioned-model-throughput/{arn.replace('/', '%2F')}"
    return str(json.loads(signer.ask("GET", path).body)["status"])


@pytest.mark.slow
def test_two_servers_on_one_postgresql_see_each_others_changes(
    database_url: str, tmp_path: Path
) -> None:
    config = f'database_url = "{database_url}"\n{QUICK}'

    with (
        outcrop_process(tmp_path / "one", config=config, environment=SEALING) as first,
        outcrop_process(tmp_path / "two", config=config, environment=SEALING) as second,
    ):
        one, two = Signer(first), Signer(second)
        assert first.credentials == second.credentials
        arn = created(one, "seen by both")
        assert arns(one) == arns(two) == {arn}
        deleted = two.ask("DELETE", f"/inference-profiles/{arn.replace('/', '%2F')}")
        assert deleted.status == 200
        assert arns(one) == arns(two) == set()

        units = {
            "provisionedModelName": "units",
            "modelId": "amazon.nova-lite-v1:0:24k",
            "modelUnits": 1,
        }
        bought = one.ask("POST", "/provisioned-model-throughput", json.dumps(units).encode())
        units_arn = json.loads(bought.body)["provisionedModelArn"]
        while status(two, units_arn) != "InService":
            assert status(two, units_arn) in {"Creating", "InService"}
        again = two.ask("POST", "/provisioned-model-throughput", json.dumps(units).encode())
        assert again.error == "ValidationException"


COUNTED = """
[[model_units]]
model = "amazon.nova-lite-v1:0"
input_tokens_per_minute = 1000
output_tokens_per_minute = 100

[[model_servers]]
name = "gpu"
url = "http://127.0.0.1:9/v1"
models = { "amazon.nova-lite-v1:0" = "nova" }
model_units = { "amazon.nova-lite-v1:0" = 7 }
"""


def buy_until_killed(signer: Signer, names: Iterator[int]) -> None:
    for number in islice(names, 12):
        units = {
            "provisionedModelName": f"units-{number}",
            "modelId": "amazon.nova-lite-v1:0",
            "modelUnits": 1,
        }
        with suppress(OSError):
            signer.ask("POST", "/provisioned-model-throughput", json.dumps(units).encode())


def number_of(signer: Signer, status: str) -> int:
    listed = signer.ask("GET", f"/provisioned-model-throughputs?statusEquals={status}")
    return len(json.loads(listed.body)["provisionedModelSummaries"])


@pytest.mark.slow
def test_two_servers_sell_what_there_is_once_though_one_is_killed(
    new_url: str, tmp_path: Path
) -> None:
    config = f'database_url = "{new_url}"\n{QUICK}{COUNTED}'
    names = count()

    with (
        outcrop_process(tmp_path / "one", config=config, environment=SEALING) as first,
        outcrop_process(tmp_path / "two", config=config, environment=SEALING) as second,
    ):
        survivor = Signer(second)
        buyers = [
            threading.Thread(target=buy_until_killed, args=(signer, names))
            for signer in (Signer(first), survivor)
            for _ in range(2)
        ]
        for buyer in buyers:
            buyer.start()
        buyers[0].join(0.15)  # some are Creating by now, some are settled
        first.kill()
        for buyer in buyers:
            buyer.join()
        while number_of(survivor, "Creating"):
            pass
        sold, refused = number_of(survivor, "InService"), number_of(survivor, "Failed")

    assert (sold, refused > 0) == (7, True)
    assert asyncio.run(units_held(new_url)) == 7


async def units_held(url: str) -> int:
    async with open_database(url) as database:
        return sum((await Capacity(database).held()).values())


@pytest.mark.slow
def test_workers_of_one_server_share_its_sqlite_file(tmp_path: Path) -> None:
    with outcrop_process(tmp_path / "state", arguments=["--workers", "2"]) as server:
        signer = Signer(server)
        made = {created(signer, f"profile {number}") for number in range(12)}

        # Each request has a connection of its own: both workers get some.
        seen = [arns(signer) for _ in range(12)]

    assert all(found == made for found in seen)
