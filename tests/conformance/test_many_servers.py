"""Several servers and several workers on one store are one Bedrock."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.signing import Signer
from tests.outcrop_process import outcrop_process
from tests.postgres import drop_database, new_database, postgres_server

SOURCE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
QUICK = "[provisioned_throughput]\ncreating_s = 0.1\n"


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with postgres_server() as server:
        url = new_database(server, "many_servers")
        yield url
        drop_database(server, "many_servers")


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
        outcrop_process(tmp_path / "one", config=config) as first,
        outcrop_process(tmp_path / "two", config=config) as second,
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


@pytest.mark.slow
def test_workers_of_one_server_share_its_sqlite_file(tmp_path: Path) -> None:
    with outcrop_process(tmp_path / "state", arguments=["--workers", "2"]) as server:
        signer = Signer(server)
        made = {created(signer, f"profile {number}") for number in range(12)}

        # Each request has a connection of its own: both workers get some.
        seen = [arns(signer) for _ in range(12)]

    assert all(found == made for found in seen)
