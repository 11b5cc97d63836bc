"""Roles assumed through boto3, and what their sessions may do."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import boto3
import httpx
import pytest

from tests.conformance.identities import (
    MODEL,
    Operator,
    allow,
    converse,
    operator,
    refusal,
    refusal_soon,
)

pytestmark = pytest.mark.slow

ASSUME = {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"]}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operator(tmp_path_factory.mktemp("sts")) as opened:
        opened.user("assumer", allow("sts:*"))
        yield opened


@pytest.fixture(scope="module")
def sts(desk: Operator) -> Any:
    return desk.client("sts", desk.key("--user", "assumer"))


def role(desk: Operator, name: str, *statements: Mapping[str, Any], trust: Any = None) -> str:
    """Its ARN. Whom the account's policies let assume it may do so."""
    principal = {"AWS": f"arn:aws:iam::{desk.account_id}:root"}
    trusting = desk.document(f"{name}-trust", trust or {**ASSUME, "Principal": principal})
    document = desk.document(name, *statements)
    made = desk.order("roles", "put", name, "--trust", trusting, "--inline", document)
    return made.strip()


def assumed(sts: Any, arn: str, **options: Any) -> dict[str, str]:
    """boto3's arguments."""
    found = sts.assume_role(RoleArn=arn, RoleSessionName="worker", **options)["Credentials"]
    return {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }


def test_a_session_may_do_what_its_role_may(desk: Operator, sts: Any) -> None:
    key = assumed(sts, role(desk, "Caller", allow("bedrock:InvokeModel")))

    identity = desk.client("sts", key).get_caller_identity()

    assert identity["Arn"] == f"arn:aws:sts::{desk.account_id}:assumed-role/Caller/worker"
    assert identity["UserId"].startswith("AROA")
    assert identity["UserId"].endswith(":worker")
    assert converse(desk.client("bedrock-runtime", key)) == "Hello"
    code, message = refusal(desk.client("bedrock", key).list_foundation_models)
    assert code == "AccessDeniedException"
    assert message.startswith(f"User: {identity['Arn']} is not authorized to perform: bedrock:List")


def test_a_role_with_a_path_is_assumed_by_its_whole_name(desk: Operator, sts: Any) -> None:
    principal = {"AWS": f"arn:aws:iam::{desk.account_id}:root"}
    own = {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{desk.account_id}:role/team/*"}}
    arn = desk.order(
        *["roles", "put", "Pathed", "--path", "/team/search/"],
        *["--trust", desk.document("p-trust", {**ASSUME, "Principal": principal})],
        *["--inline", desk.document("p", allow("bedrock:InvokeModel", Condition=own))],
    ).strip()

    key = assumed(sts, arn)

    assert arn == f"arn:aws:iam::{desk.account_id}:role/team/search/Pathed"
    assert converse(desk.client("bedrock-runtime", key)) == "Hello"
    session = desk.client("sts", key).get_caller_identity()["Arn"]
    assert session == f"arn:aws:sts::{desk.account_id}:assumed-role/Pathed/worker"
    short = f"arn:aws:iam::{desk.account_id}:role/Pathed"
    assert refusal(lambda: assumed(sts, short))[0] == "AccessDenied"


def test_boto3_assumes_a_role_by_itself(desk: Operator, tmp_path: Any, monkeypatch: Any) -> None:
    arn = role(desk, "Profiled", allow("bedrock:InvokeModel"))
    key = desk.key("--user", "assumer")
    (tmp_path / "config").write_text(
        f"[profile app]\nrole_arn = {arn}\nsource_profile = base\n"
        f"[profile base]\naws_access_key_id = {key['aws_access_key_id']}\n"
        f"aws_secret_access_key = {key['aws_secret_access_key']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", desk.server.url)
    session = boto3.Session(profile_name="app", region_name="us-east-1")

    assert converse(session.client("bedrock-runtime")) == "Hello"


def test_a_session_policy_limits_and_never_adds(desk: Operator, sts: Any) -> None:
    arn = role(desk, "Limited", allow("bedrock:InvokeModel", "bedrock:ListFoundationModels"))
    policy = {"Version": "2012-10-17", "Statement": [allow("bedrock:List*")]}
    key = assumed(sts, arn, Policy=json.dumps(policy))

    assert desk.client("bedrock", key).list_foundation_models()
    _, message = refusal(lambda: converse(desk.client("bedrock-runtime", key)))
    assert message.endswith("because no session policy allows the bedrock:InvokeModel action")
    _, message = refusal(desk.client("bedrock", key).list_inference_profiles)
    assert "because no identity-based policy allows" in message


def test_a_managed_policy_can_be_a_session_policy(desk: Operator, sts: Any) -> None:
    made = desk.order("policies", "put", "Listing", desk.document("l", allow("bedrock:List*")))
    arn = role(desk, "Managed", allow("bedrock:*"))
    key = assumed(sts, arn, PolicyArns=[{"arn": made.strip()}])

    assert desk.client("bedrock", key).list_foundation_models()
    assert refusal(lambda: converse(desk.client("bedrock-runtime", key)))


def test_so_can_one_of_awss_own_and_no_other(desk: Operator, sts: Any) -> None:
    arn = role(desk, "Amazons", allow("bedrock:*"))
    aws = "arn:aws:iam::aws:policy/"
    key = assumed(sts, arn, PolicyArns=[{"arn": f"{aws}AmazonBedrockReadOnly"}])

    assert desk.client("bedrock", key).list_foundation_models()
    assert refusal(lambda: converse(desk.client("bedrock-runtime", key)))
    unknown = [{"arn": f"{aws}NoSuchPolicy"}]
    assert refusal(lambda: assumed(sts, arn, PolicyArns=unknown)) == (
        "ValidationError",
        f"ARN {aws}NoSuchPolicy is not valid.",
    )


def test_session_tags_are_the_principals(desk: Operator, sts: Any) -> None:
    own = {"StringEquals": {"aws:PrincipalTag/team": "search"}}
    arn = role(desk, "Tagged", allow("bedrock:InvokeModel", Condition=own))

    searching = assumed(sts, arn, Tags=[{"Key": "team", "Value": "search"}])
    advertising = assumed(sts, arn, Tags=[{"Key": "team", "Value": "ads"}])

    assert converse(desk.client("bedrock-runtime", searching)) == "Hello"
    assert refusal(lambda: converse(desk.client("bedrock-runtime", advertising)))


def test_a_role_is_assumed_only_by_whom_it_trusts(desk: Operator, sts: Any) -> None:
    other = {"AWS": f"arn:aws:iam::{desk.account_id}:user/somebody-else"}
    external = {
        **ASSUME,
        "Principal": {"AWS": desk.account_id},
        "Condition": {"StringEquals": {"sts:ExternalId": "sesame"}},
    }
    closed = role(desk, "Closed", allow("*"), trust={**ASSUME, "Principal": other})
    guarded = role(desk, "Guarded", allow("*"), trust=external)
    nowhere = f"arn:aws:iam::{desk.account_id}:role/Nowhere"

    for arn in (closed, guarded, nowhere):
        code, message = refusal(partial(assumed, sts, arn))
        assert code == "AccessDenied"
        assert message.startswith(
            f"User: arn:aws:iam::{desk.account_id}:user/assumer is not authorized to perform:"
            f" sts:AssumeRole on resource: {arn}"
        )
    assert assumed(sts, guarded, ExternalId="sesame")
    assert refusal(lambda: assumed(desk.root("sts"), guarded, ExternalId="sesame")) == (
        "AccessDenied",
        "Roles may not be assumed by root accounts.",
    )


def test_a_changed_token_or_key_is_refused(desk: Operator, sts: Any) -> None:
    arn = role(desk, "Tampered", allow("bedrock:*"))
    key, other = assumed(sts, arn), assumed(sts, arn)
    token = key["aws_session_token"]
    changed = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]

    for wrong in (
        {**key, "aws_session_token": changed},
        {**key, "aws_session_token": other["aws_session_token"]},
        {**key, "aws_session_token": ""},
    ):
        code, _ = refusal(partial(converse, desk.client("bedrock-runtime", wrong)))
        assert code == "UnrecognizedClientException"
    stolen = {**key, "aws_secret_access_key": other["aws_secret_access_key"]}
    code, _ = refusal(lambda: converse(desk.client("bedrock-runtime", stolen)))
    assert code == "InvalidSignatureException"
    assert converse(desk.client("bedrock-runtime", key)) == "Hello"


def test_sessions_end_with_their_role(desk: Operator, sts: Any) -> None:
    arn = role(desk, "Gone", allow("bedrock:*"))
    runtime = desk.client("bedrock-runtime", assumed(sts, arn))
    assert converse(runtime) == "Hello"

    desk.order("roles", "delete", "Gone")
    role(desk, "Gone", allow("bedrock:*"))

    assert refusal_soon(lambda: converse(runtime))[0] == "UnrecognizedClientException"


def test_a_role_says_how_long_its_sessions_last(desk: Operator, sts: Any) -> None:
    arn = role(desk, "Short", allow("sts:AssumeRole"))
    chained = desk.client("sts", assumed(sts, arn, DurationSeconds=900))

    code, message = refusal(lambda: assumed(sts, arn, DurationSeconds=7_200))
    assert (code, message) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    code, message = refusal(lambda: assumed(chained, arn, DurationSeconds=7_200))
    assert "1 hour session limit" in message
    code, _ = refusal(lambda: assumed(sts, arn, Policy='{"Version": "2012-10-17"}'))
    assert code == "MalformedPolicyDocument"


def test_a_user_gets_a_session_token_of_its_own(desk: Operator) -> None:
    desk.user("holder", allow("bedrock:InvokeModel"))
    sts = desk.client("sts", desk.key("--user", "holder"))
    found = sts.get_session_token(DurationSeconds=900)["Credentials"]
    key = {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }

    assert converse(desk.client("bedrock-runtime", key), MODEL) == "Hello"
    arn = desk.client("sts", key).get_caller_identity()["Arn"]
    assert arn == f"arn:aws:iam::{desk.account_id}:user/holder"
    assert refusal(desk.client("sts", key).get_session_token)[0] == "AccessDenied"


def test_the_trail_ties_the_key_of_a_session_to_who_assumed_the_role(
    desk: Operator, sts: Any
) -> None:
    arn = role(desk, "Audited", allow("bedrock:InvokeModel"))
    key = assumed(sts, arn)
    converse(desk.client("bedrock-runtime", key))

    given, used = lines_of(desk, key["aws_access_key_id"])
    assert (given["eventName"], used["eventName"]) == ("AssumeRole", "Converse")
    assert given["userIdentity"]["userName"] == "assumer"
    assert given["userIdentity"]["accessKeyId"].startswith("AKIA")
    session = given["responseElements"]["assumedRoleUser"]
    assert session["arn"] == used["userIdentity"]["arn"]
    assert session["assumedRoleId"] == used["userIdentity"]["principalId"]
    assert used["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] == arn


def test_the_trail_tells_the_key_of_a_presigned_request(desk: Operator, sts: Any) -> None:
    desk.user("presigner", allow("bedrock:*"))
    lasting = desk.key("--user", "presigner")
    session = assumed(sts, role(desk, "Presigning", allow("bedrock:*")))

    assert whoami_presigned(desk, lasting).endswith(":user/presigner")
    assert whoami_presigned(desk, session).endswith(":assumed-role/Presigning/worker")

    (asked,) = lines_of(desk, lasting["aws_access_key_id"])
    _, asked_in_session = lines_of(desk, session["aws_access_key_id"])
    assert asked["eventName"] == asked_in_session["eventName"] == "GetCallerIdentity"


def whoami_presigned(desk: Operator, key: Mapping[str, str]) -> str:
    """By a URL alone."""
    url = desk.client("sts", key).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    answer = httpx.get(url)
    found = re.search("<Arn>(.*)</Arn>", answer.text)
    assert found, answer.text
    return found[1]


def lines_of(desk: Operator, access_key_id: str) -> list[Any]:
    """By whose answer the key was given, and those that it signed."""

    def tells(line: Any) -> bool:
        answer = line["responseElements"] or {}
        given = answer.get("credentials", {}).get("accessKeyId")
        return access_key_id in {given, line["userIdentity"].get("accessKeyId")}

    return list(filter(tells, desk.trail()))
