"""A profile's traffic through boto3: it leaves a Region whose server dies, and comes back to it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.boto3_client import client_of
from tests.fakes.model_server import Answers, FakeModelServer, Says, delta, in_thread, sse, usage
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = pytest.mark.slow

MODEL = "amazon.nova-lite-v1:0"
PROFILE = f"us.{MODEL}"
SOUND = Answers([sse(delta("Hello"), delta(finish_reason="stop"), usage(3, 1))])
DEAD = Says(b"")


def server_table(name: str, fake: FakeModelServer, region: str) -> str:
    return f"""
    [[model_servers]]
    name = "{name}"
    url = "{fake.url}"
    region = "{region}"
    models = {{ "{MODEL}" = "nova" }}
    """


class Fleet:
    def __init__(
        self, server: OutcropProcess, east: FakeModelServer, west: FakeModelServer
    ) -> None:
        self.server = server
        self.east = east
        self.west = west
        self.client = client_of(server, "bedrock-runtime")

    def headers(self, model_id: str = PROFILE) -> Mapping[str, str]:
        """Those of one answer; raises botocore's ClientError."""
        message = {"role": "user", "content": [{"text": "hi"}]}
        answer = self.client.converse(modelId=model_id, messages=[message])
        found: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
        return found

    def region_becomes(self, region: str) -> bool:
        return eventually(lambda: self.headers()["x-outcrop-inference-region"] == region)

    def explained(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "outcrop", "explain", *arguments]
        return subprocess.run(
            [*command, "--state", self.server.state], capture_output=True, text=True, check=False
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with in_thread(SOUND) as east, in_thread(SOUND) as west:
        tables = server_table("east", east, "us-east-1") + server_table("west", west, "us-west-2")
        config = f"[routing]\nejection_s = 0.1\nlongest_ejection_s = 0.2\n{tables}"
        with outcrop_process(tmp_path / "state", config=config) as server:
            yield Fleet(server, east, west)


def test_a_profile_moves_to_the_next_region_when_the_sources_server_dies_and_comes_back(
    fleet: Fleet,
) -> None:
    well = fleet.headers()
    fleet.east.script = DEAD
    first = fleet.headers()
    moved = [fleet.headers() for _ in range(5)][-1]
    with pytest.raises(ClientError) as only_here:
        fleet.headers(MODEL)
    fleet.east.script = SOUND

    assert (well["x-outcrop-inference-region"], "x-outcrop-skipped" in well) == (
        "us-east-1",
        False,
    )
    assert first["x-outcrop-inference-region"] == "us-west-2"
    assert first["x-outcrop-served-by"] == 'west; model="nova"'
    assert first["x-outcrop-skipped"] == "east: broke off"
    assert moved["x-outcrop-skipped"] == "us-east-1: no healthy server"
    assert only_here.value.response["Error"]["Code"] == "ServiceUnavailableException"
    assert fleet.region_becomes("us-east-1")


def test_the_log_tells_region_and_reasons(fleet: Fleet) -> None:
    fleet.east.script = DEAD
    fleet.headers()
    assert fleet.server.stop() == 0

    lines = fleet.server.log.read_text().splitlines()
    log = [json.loads(line) for line in lines if line.startswith("{")]
    (line,) = [event for event in log if event.get("operation") == "Converse"]

    assert (line["inference_region"], line["skipped"]) == ("us-west-2", ["east: broke off"])
    assert (line["region"], line["served_by"]) == ("us-east-1", 'west; model="nova"')


def test_explain_tells_what_an_identifier_would_do_now_and_why(fleet: Fleet) -> None:
    fleet.headers()
    well = fleet.explained(PROFILE)
    fleet.east.script = DEAD
    for _ in range(4):
        fleet.headers()
    sick: Any = json.loads(fleet.explained(PROFILE, "--json").stdout)
    unknown = fleet.explained("nobody.model")
    elsewhere: Any = json.loads(fleet.explained(MODEL, "--region", "us-west-2", "--json").stdout)

    assert "asked first: east (it is the only one that may be asked in us-east-1)" in well.stdout
    assert "healthy, 0 in flight" in well.stdout
    assert sick["regions"] == ["us-east-1", "us-west-2", "us-east-2"]
    assert sick["askedFirst"] == "west"
    assert sick["because"].startswith("us-east-1 has nobody; ")
    (east,) = sick["pools"][0]["servers"]
    assert (east["health"] in {"ejected", "on trial"}, east["why"]) == (True, "broke off")
    assert elsewhere["askedFirst"] == "west"
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "The provided model identifier is invalid." in unknown.stderr
