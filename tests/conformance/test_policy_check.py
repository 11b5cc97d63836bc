"""What `outcrop policy check` says is what the server does."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.identities import (
    MODEL,
    PROFILE,
    Operator,
    allow,
    converse,
    deny,
    operator,
    refusal,
)

pytestmark = pytest.mark.slow

DENIED, IMPOSSIBLE = 2, 1
EVERYWHERE = {"us-east-1": True, "us-east-2": True, "us-west-2": False}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operator(tmp_path_factory.mktemp("check")) as opened:
        yield opened


def checked(desk: Operator, principal: str, model_id: str, *options: str) -> Any:
    words = ["policy", "check", "--principal", principal, "--model", model_id, "--json", *options]
    try:
        return json.loads(desk.order(*words))
    except subprocess.CalledProcessError as error:
        if error.returncode != DENIED:
            raise
        return json.loads(error.stdout)


def test_a_check_goes_region_by_region_and_agrees_with_the_server(desk: Operator) -> None:
    there = {"StringEquals": {"aws:RequestedRegion": "us-west-2"}}
    desk.user("careful", allow("bedrock:InvokeModel*"), deny("*", Condition=there, Sid="NotWest"))
    runtime = desk.client("bedrock-runtime", desk.key("--user", "careful"))

    direct, through = checked(desk, "careful", MODEL), checked(desk, "careful", PROFILE)

    assert (direct["allowed"], through["allowed"]) == (True, False)
    models = [one for one in through["needed"] if ":foundation-model/" in one["resource"]]
    assert {one["region"]: one["allowed"] for one in models} == EVERYWHERE
    west = next(one for one in models if one["region"] == "us-west-2")
    assert west["decidedBy"] == "identity-based policy careful, statement NotWest"
    assert converse(runtime) == "Hello"
    assert west["resource"] in refusal(lambda: converse(runtime, PROFILE))[1]


def test_a_role_is_checked_in_a_session_of_it(desk: Operator) -> None:
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": desk.account_id},
    }
    arn = desk.order(
        *["roles", "put", "Streamer", "--trust", desk.document("trust", trust)],
        *["--inline", desk.document("s", allow("bedrock:InvokeModelWithResponseStream"))],
    ).strip()

    assert not checked(desk, arn, MODEL)["allowed"]
    assert checked(desk, arn, MODEL, "--operation", "ConverseStream")["allowed"]


@pytest.mark.parametrize(
    ("principal", "model_id"), [("nobody", MODEL), ("reader", "no.such-model-v1:0")]
)
def test_what_is_not_there_cannot_be_checked(desk: Operator, principal: str, model_id: str) -> None:
    desk.user("reader", allow("*"))

    with pytest.raises(subprocess.CalledProcessError) as failed:
        desk.order("policy", "check", "--principal", principal, "--model", model_id)

    assert failed.value.returncode == IMPOSSIBLE
    assert failed.value.stderr.startswith("outcrop: ")


def test_a_person_reads_which_statement_decides(desk: Operator) -> None:
    desk.user("plain", allow("bedrock:InvokeModel", Sid="Calls"))

    told = desk.order("policy", "check", "--principal", "plain", "--model", MODEL)

    assert "identity-based policy plain, statement Calls" in told
    assert told.endswith(f"Converse (bedrock:InvokeModel) of {MODEL} passes\n")
