"""boto3 with AWS_BEARER_TOKEN_BEDROCK: long-term keys of `outcrop`, short-term ones of Amazon's."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from aws_bedrock_token_generator import BedrockTokenGenerator
from botocore.credentials import Credentials

from tests.conformance.identities import (
    Operator,
    allow,
    converse,
    deny,
    operator,
    refusal,
    refusal_soon,
)
from tests.secrets_in_play import note

pytestmark = pytest.mark.slow

INVALID = (
    "AccessDeniedException",
    "Authentication failed: Please make sure your API Key is valid.",
)
CALLING = allow("bedrock:CallWithBearerToken", "bedrock:InvokeModel", "bedrock:List*")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """With TLS of its own: boto3 sends bearer keys over nothing else."""
    with operator(tmp_path_factory.mktemp("bearer"), is_secure=True) as opened:
        opened.user("bearer", CALLING)
        yield opened


@pytest.fixture
def bearing(desk: Operator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a bearer key."""

    def make(key: str, service: str = "bedrock-runtime", region: str = "us-east-1") -> Any:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
        return desk.client(service, {}, region)

    return make


def long_term(desk: Operator, *options: str) -> str:
    printed = desk.order("keys", "create", "--bearer", *options)
    key = note(printed.strip().partition("=")[2], "a long-term API key, whole")
    note(b64decode(key.removeprefix("ABSK")).decode().partition(":")[2], "an API key's secret")
    return key


def short_term(key: dict[str, str], region: str = "us-east-1") -> str:
    credentials = Credentials(
        key["aws_access_key_id"], key["aws_secret_access_key"], key.get("aws_session_token")
    )
    return note(BedrockTokenGenerator().get_token(credentials, region), "a short-term key, whole")


def test_a_long_term_key_calls_both_endpoints(desk: Operator, bearing: Any) -> None:
    key = long_term(desk, "--user", "bearer")

    assert key.startswith("ABSK")
    assert converse(bearing(key)) == "Hello"
    assert bearing(key, "bedrock").list_foundation_models()["modelSummaries"]


def test_a_short_term_key_of_amazons_generator_calls(desk: Operator, bearing: Any) -> None:
    desk.user("brief", CALLING)
    key = desk.key("--user", "brief")

    assert converse(bearing(short_term(key))) == "Hello"

    desk.order("keys", "disable", key["aws_access_key_id"])
    assert refusal_soon(lambda: converse(bearing(short_term(key)))) == INVALID


def test_a_short_term_key_of_a_session_calls(desk: Operator, bearing: Any) -> None:
    desk.user("sessions", CALLING)
    sts = desk.client("sts", desk.key("--user", "sessions"))
    found = sts.get_session_token()["Credentials"]
    key = {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }

    assert converse(bearing(short_term(key))) == "Hello"
    tampered = {**key, "aws_session_token": found["SessionToken"][:-6] + "AAAAA="}
    assert refusal(lambda: converse(bearing(short_term(tampered)))) == INVALID


def test_the_trail_says_who_called_with_a_bearer_key(desk: Operator, bearing: Any) -> None:
    desk.user("audited", CALLING)
    key = desk.key("--user", "audited")
    converse(desk.client("bedrock-runtime", key))
    converse(bearing(short_term(key)))
    bearing(long_term(desk, "--user", "audited"), "bedrock").list_foundation_models()

    signed, brief, lasting = [
        line for line in desk.trail() if line["userIdentity"].get("userName") == "audited"
    ]
    assert signed["userIdentity"]["accessKeyId"] == key["aws_access_key_id"]
    assert "additionalEventData" not in signed
    for line in (brief, lasting):
        assert "accessKeyId" not in line["userIdentity"]
        assert line["additionalEventData"] == {"callWithBearerToken": True}


def test_calling_with_a_key_has_to_be_allowed_itself(desk: Operator, bearing: Any) -> None:
    desk.user("signer", allow("bedrock:InvokeModel"))
    key = desk.key("--user", "signer")

    assert converse(desk.client("bedrock-runtime", key)) == "Hello"
    assert refusal(lambda: converse(bearing(short_term(key))))[1] == (
        f"User: arn:aws:iam::{desk.account_id}:user/signer is not authorized to perform:"
        " bedrock:CallWithBearerToken on resource: * because no identity-based policy allows the"
        " bedrock:CallWithBearerToken action"
    )


def test_one_kind_of_key_can_be_denied(desk: Operator, bearing: Any) -> None:
    lasting = {"StringEquals": {"bedrock:BearerTokenType": "LONG_TERM"}}
    document = desk.document("k", CALLING, deny("bedrock:CallWithBearerToken", Condition=lasting))
    desk.order("users", "put", "fleeting", "--inline", document)
    key = desk.key("--user", "fleeting")

    assert converse(bearing(short_term(key))) == "Hello"
    code, message = refusal(lambda: converse(bearing(long_term(desk, "--user", "fleeting"))))
    assert code == "AccessDeniedException"
    assert "with an explicit deny" in message


def test_the_region_of_a_key_is_the_region_of_its_calls(desk: Operator, bearing: Any) -> None:
    where = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
    desk.user("european", allow("bedrock:*", Condition=where))
    desk.order(*["users", "put", "european", "--inline", desk.document("e", allow("bedrock:*"))])
    key = long_term(desk, "--user", "european", "--region", "eu-west-1")

    # Whatever the client takes for its Region: the key says nothing else on the wire.
    client = bearing(key, "bedrock", region="us-east-1")
    profiles = client.list_inference_profiles(maxResults=5)["inferenceProfileSummaries"]

    assert all(":eu-west-1:" in profile["inferenceProfileArn"] for profile in profiles)


def test_changed_expired_and_revoked_keys_are_refused_alike(desk: Operator, bearing: Any) -> None:
    desk.user("careless", CALLING)
    key = long_term(desk, "--user", "careless")
    expired = long_term(desk, "--user", "careless", "--expires-days", "0")
    assert converse(bearing(key)) == "Hello"
    named = b64decode(key.removeprefix("ABSK")).decode()
    key_id, _, secret = named.partition(":")
    wrong = f"ABSK{b64encode(f'{key_id}:{secret[::-1]}'.encode()).decode()}"

    for bad in (wrong, expired, "ABSKnonsense", "bedrock-api-key-nonsense"):
        assert refusal(lambda bad=bad: converse(bearing(bad))) == INVALID  # type: ignore[misc]

    desk.order("keys", "delete", key_id)
    assert refusal_soon(lambda: converse(bearing(key))) == INVALID


def test_an_api_key_signs_nothing(desk: Operator) -> None:
    named = b64decode(long_term(desk, "--user", "bearer").removeprefix("ABSK")).decode()
    key_id, _, secret = named.partition(":")
    key = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}

    code, _ = refusal(desk.client("bedrock", key).list_foundation_models)

    assert code == "UnrecognizedClientException"
