"""Conditions on how and when a request came: declared users, boto3, and the server's own TLS."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.identities import Operator, allow, deny, forwarded_for, operator, refusal

pytestmark = pytest.mark.slow

ACCOUNT = "444455556666"
LIST = "bedrock:ListFoundationModels"


def moment(**offset: float) -> str:
    return (datetime.now(UTC) + timedelta(**offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def listing(**condition: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [allow(LIST, Condition=condition)]


USERS: Mapping[str, list[dict[str, Any]]] = {
    "secure": listing(Bool={"aws:SecureTransport": "true"}),
    "plain": listing(Bool={"aws:SecureTransport": "false"}),
    "travelling": [
        *listing(IpAddress={"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}),
        deny(LIST, Condition={"IpAddress": {"aws:SourceIp": "203.0.113.128/25"}}),
    ],
    "before": listing(DateLessThan={"aws:CurrentTime": moment(hours=1)}),
    "after": listing(DateGreaterThan={"aws:CurrentTime": moment(hours=1)}),
    "epoch": listing(NumericGreaterThan={"aws:EpochTime": "1700000000"}),
    "boto": listing(StringLike={"aws:UserAgent": "Boto3/*"}),
    "curl": listing(StringLike={"aws:UserAgent": "curl/*"}),
    "referred": listing(StringLike={"aws:Referer": "*"}),
    "session": [
        *listing(DateLessThan={"aws:TokenIssueTime": moment(hours=1)}),
        deny(LIST, Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
    ],
    "guarded": listing(Bool={"aws:MultiFactorAuthPresent": "true"}),
    # As IAM revokes the sessions that were made before.
    "revoked": [
        allow(LIST),
        deny("*", Condition={"DateLessThan": {"aws:TokenIssueTime": moment(hours=1)}}),
    ],
}


def key_of(name: str) -> dict[str, str]:
    return {
        "aws_access_key_id": f"AKIA{name.upper():0>16}",
        "aws_secret_access_key": f"the-declared-secret-of-{name}",
    }


def declared() -> str:
    """An account with a user for each policy, and their keys."""
    documents = {
        name: json.dumps({"Version": "2012-10-17", "Statement": statements})
        for name, statements in USERS.items()
    }
    policies = "\n".join(f"{name} = '{text}'" for name, text in documents.items())
    users = "".join(
        f"""
        [[accounts.users]]
        user_name = "{name}"
        policies = ["{name}"]
        [[accounts.users.access_keys]]
        access_key_id = "{key_of(name)["aws_access_key_id"]}"
        secret_access_key_env = "{name.upper()}_SECRET"
        """
        for name in USERS
    )
    account = f'[[accounts]]\naccount_id = "{ACCOUNT}"\n[accounts.policies]'
    return f"{account}\n{policies}\n{users}"


SECRETS = {f"{name.upper()}_SECRET": key_of(name)["aws_secret_access_key"] for name in USERS}


@pytest.fixture(scope="module", params=[True, False], ids=["tls", "plain"])
def desk(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("conditions")
    with operator(folder, is_secure=request.param, more=declared(), environment=SECRETS) as opened:
        yield opened


def may_list(client: Any) -> bool:
    try:
        return bool(client.list_foundation_models(byProvider="Amazon")["modelSummaries"])
    except client.exceptions.AccessDeniedException:
        return False


def client(desk: Operator, name: str) -> Any:
    return desk.client("bedrock", key_of(name))


def session(desk: Operator, name: str) -> Any:
    found = desk.client("sts", key_of(name)).get_session_token()["Credentials"]
    return desk.client(
        "bedrock",
        {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        },
    )


def test_a_declared_key_signs_for_its_user(desk: Operator) -> None:
    identity = desk.client("sts", key_of("boto")).get_caller_identity()

    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/boto"


def test_whether_a_request_came_by_tls(desk: Operator) -> None:
    assert may_list(client(desk, "secure")) is desk.is_secure
    assert may_list(client(desk, "plain")) is not desk.is_secure


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("203.0.113.7", True),
        ("203.0.113.200", False),
        ("198.51.100.1", False),
        ("2001:db8::7", True),
        (None, False),
    ],
)
def test_where_a_request_came_from(desk: Operator, address: str | None, *, passes: bool) -> None:
    travelling = client(desk, "travelling")
    if address is not None:
        forwarded_for(travelling, address)

    assert may_list(travelling) is passes


def test_when_and_by_what_a_request_was_sent(desk: Operator) -> None:
    names = ("before", "after", "epoch", "boto", "curl", "referred")

    assert [name for name in names if may_list(client(desk, name))] == ["before", "epoch", "boto"]


def test_how_old_a_session_is_and_that_it_had_no_second_factor(desk: Operator) -> None:
    assert may_list(session(desk, "session"))
    assert not may_list(client(desk, "session"))
    assert not may_list(session(desk, "guarded"))
    assert may_list(client(desk, "revoked"))
    code, message = refusal(session(desk, "revoked").list_foundation_models)
    assert code == "AccessDeniedException"
    assert "with an explicit deny" in message
