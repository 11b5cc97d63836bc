"""What the audit trail says of a call, in CloudTrail's words: who, by which key, and what of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from outcrop.iam.caller import Caller
from outcrop.metering.audit import Audited
from outcrop.metering.audit_record import HIDDEN
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.shapes.ce import (
    DateInterval,
    GetCostAndUsageRequest,
)
from outcrop.wire.shapes.cloudwatch import (
    Dimension,
    GetMetricDataInput,
    ListMetricsInput,
    Metric,
    MetricDataQuery,
    MetricStat,
)
from outcrop.wire.shapes.sts import (
    AssumedRoleUser,
    AssumeRoleRequest,
    AssumeRoleResponse,
    AssumeRoleWithWebIdentityRequest,
    AssumeRoleWithWebIdentityResponse,
    Credentials,
    GetSessionTokenRequest,
    GetSessionTokenResponse,
    Tag,
)
from tests.metering.audited import INVOKED, written
from tests.runtime.requests import ACCOUNT, caller

OTHER = "444455556666"
ISSUED_AT = datetime(2026, 11, 22, 11, 59, 58, 765_432, tzinfo=UTC)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/Worker"
USER = Caller(
    account_id=ACCOUNT,
    arn=f"arn:aws:iam::{ACCOUNT}:user/team/jane",
    user_id="AIDAJANE",
    region="us-east-1",
    partition="aws",
)
SESSION = Caller(
    account_id=ACCOUNT,
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/Worker/job",
    user_id="AROAWORKER:job",
    region="us-east-1",
    partition="aws",
    issued_at=ISSUED_AT,
    role_arn=ROLE,
)
ISSUER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/1"
POD = Caller(
    account_id=ACCOUNT,
    arn=ISSUER,
    user_id="system:serviceaccount:search:indexer",
    region="us-east-1",
    partition="aws",
    audience="sts.amazonaws.com",
)
CREDENTIALS = Credentials(
    access_key_id="ASIAGIVEN",
    secret_access_key="a-secret",
    session_token="a-token",
    expiration=datetime(2026, 11, 22, 13, 5, 9, tzinfo=UTC),
)
GIVEN = {
    "accessKeyId": "ASIAGIVEN",
    "sessionToken": HIDDEN,
    "expiration": "Nov 22, 2026, 1:05:09 PM",
}
CALLED = structs.replace(
    INVOKED,
    signing_name="sts",
    caller=USER,
    access_key_id="AKIAJANE",
    model_id=None,
    inference_region=None,
    changes=True,
)


def assuming(role_arn: str, **changes: Any) -> Audited:
    """A user of ACCOUNT who assumes a role."""
    assumed = AssumedRoleUser(
        assumed_role_id="AROAWORKER:job",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/Worker/job",
    )
    call = structs.replace(
        CALLED,
        operation="AssumeRole",
        input=AssumeRoleRequest(
            role_arn=role_arn,
            role_session_name="job",
            tags=[Tag(key="Team", value="Search")],
            token_code="123456",
        ),
        output=AssumeRoleResponse(credentials=CREDENTIALS, assumed_role_user=assumed),
    )
    return structs.replace(call, **changes)


def test_a_session_of_a_role_says_which_role_and_since_when(tmp_path: Path) -> None:
    call = structs.replace(INVOKED, caller=SESSION, access_key_id="ASIA1")
    (line,) = written(tmp_path, call)

    assert line["userIdentity"] == {
        "type": "AssumedRole",
        "principalId": "AROAWORKER:job",
        "arn": SESSION.arn,
        "accountId": ACCOUNT,
        "accessKeyId": "ASIA1",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAWORKER",
                "arn": ROLE,
                "accountId": ACCOUNT,
                "userName": "Worker",
            },
            "attributes": {"creationDate": "2026-11-22T11:59:58Z", "mfaAuthenticated": "false"},
        },
    }


@pytest.mark.parametrize("who", [USER, caller()])
def test_a_session_of_a_user_says_since_when(tmp_path: Path, who: Caller) -> None:
    lasting = structs.replace(INVOKED, caller=who)
    session = structs.replace(INVOKED, caller=structs.replace(who, issued_at=ISSUED_AT))
    plain, temporary = written(tmp_path, lasting, session)

    attributes = {"creationDate": "2026-11-22T11:59:58Z", "mfaAuthenticated": "false"}
    assert "sessionContext" not in plain["userIdentity"]
    assert temporary["userIdentity"] == {
        **plain["userIdentity"],
        "sessionContext": {"attributes": attributes},
    }


def test_only_a_bearer_key_is_said_to_be_one(tmp_path: Path) -> None:
    borne = structs.replace(INVOKED, access_key_id=None)
    at_home = structs.replace(borne, inference_region="us-east-1")
    signed, *bearing = written(tmp_path, INVOKED, borne, at_home)

    assert signed["additionalEventData"] == {"inferenceRegion": "us-west-2"}
    assert [line["additionalEventData"] for line in bearing] == [
        {"inferenceRegion": "us-west-2", "callWithBearerToken": True},
        {"callWithBearerToken": True},
    ]
    assert all("accessKeyId" not in line["userIdentity"] for line in bearing)


def test_what_metrics_are_asked_for_is_a_data_event(tmp_path: Path) -> None:
    dimension = Dimension(name="ModelId", value="nova")
    metric = Metric(namespace="AWS/Bedrock", metric_name="Invocations", dimensions=[dimension])
    asked = GetMetricDataInput(
        metric_data_queries=[
            MetricDataQuery(
                id="m1", metric_stat=MetricStat(metric=metric, period=60, stat="Sum"), period=60
            )
        ],
        start_time=datetime(2026, 11, 22, 0, 4, 5, tzinfo=UTC),
        end_time=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    )
    reads: list[tuple[str, Any]] = [("GetMetricData", asked), ("ListMetrics", ListMetricsInput())]
    got, listed = written(
        tmp_path,
        *[
            structs.replace(CALLED, signing_name="monitoring", operation=name, input=value)
            for name, value in reads
        ],
    )

    assert got["requestParameters"] == {
        "metricDataQueries": [
            {
                "id": "m1",
                "metricStat": {
                    "metric": {
                        "namespace": "AWS/Bedrock",
                        "metricName": "Invocations",
                        "dimensions": [{"name": "ModelId", "value": "nova"}],
                    },
                    "period": 60,
                    "stat": "Sum",
                },
                "period": 60,
            }
        ],
        "startTime": "Nov 22, 2026, 12:04:05 AM",
        "endTime": "Nov 22, 2026, 12:00:00 PM",
    }
    for line in (got, listed):
        assert (line["managementEvent"], line["eventCategory"]) == (False, "Data")
        assert line["resources"] == [{"type": "AWS::CloudWatch::Metric"}]
        assert (line["readOnly"], line["responseElements"]) == (True, None)


def test_what_costs_are_asked_for_is_spelt_as_it_was(tmp_path: Path) -> None:
    asked = GetCostAndUsageRequest(
        time_period=DateInterval(start="2026-11-01", end="2026-11-22"),
        granularity="DAILY",
        metrics=["UnblendedCost"],
    )
    call = structs.replace(CALLED, signing_name="ce", operation="GetCostAndUsage", input=asked)
    (line,) = written(tmp_path, call)

    assert line["requestParameters"]["TimePeriod"] == {"Start": "2026-11-01", "End": "2026-11-22"}
    assert (line["managementEvent"], line["eventCategory"]) == (True, "Management")


def test_an_assumed_role_tells_the_new_key_and_nothing_secret(tmp_path: Path) -> None:
    (line,) = written(tmp_path, assuming(ROLE))

    assert line["userIdentity"]["accessKeyId"] == "AKIAJANE"
    assert line["requestParameters"] == {
        "roleArn": ROLE,
        "roleSessionName": "job",
        "tags": [{"key": "Team", "value": "Search"}],
    }
    assert line["responseElements"] == {
        "credentials": GIVEN,
        "assumedRoleUser": {
            "assumedRoleId": "AROAWORKER:job",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Worker/job",
        },
    }
    assert (line["readOnly"], line["managementEvent"]) == (True, True)
    assert line["resources"] == [{"accountId": ACCOUNT, "type": "AWS::IAM::Role", "ARN": ROLE}]
    assert "sharedEventID" not in line


def test_the_account_of_a_role_is_told_who_assumes_it_from_elsewhere(tmp_path: Path) -> None:
    arn = f"arn:aws:iam::{OTHER}:role/Guest"
    own, theirs = written(tmp_path, assuming(arn))

    assert (own["recipientAccountId"], theirs["recipientAccountId"]) == (ACCOUNT, OTHER)
    assert own["userIdentity"]["arn"] == USER.arn
    assert theirs["userIdentity"] == {
        "type": "AWSAccount",
        "principalId": "AIDAJANE",
        "accountId": ACCOUNT,
    }
    assert own["sharedEventID"] == theirs["sharedEventID"]
    assert own["eventID"] != theirs["eventID"]
    assert own["resources"] == theirs["resources"]
    assert theirs["responseElements"]["credentials"] == GIVEN


@pytest.mark.parametrize("arn", [f"arn:aws:iam::{OTHER}:role/Guest", "no ARN, but long enough"])
def test_who_may_not_assume_a_role_is_told_to_the_own_account_alone(
    tmp_path: Path, arn: str
) -> None:
    refused = assuming(arn, error=AccessDeniedException("no"), output=None)
    (line,) = written(tmp_path, refused)

    assert (line["recipientAccountId"], line["errorCode"]) == (ACCOUNT, "AccessDenied")
    assert line["responseElements"] is None
    assert line["requestParameters"]["roleArn"] == arn
    assert ("resources" in line) is arn.startswith("arn:")


def test_a_session_of_ones_own_tells_the_new_key(tmp_path: Path) -> None:
    call = structs.replace(
        CALLED,
        operation="GetSessionToken",
        input=GetSessionTokenRequest(duration_seconds=900),
        output=GetSessionTokenResponse(credentials=CREDENTIALS),
    )
    (line,) = written(tmp_path, call)

    assert line["requestParameters"] == {"durationSeconds": 900}
    assert line["responseElements"] == {"credentials": GIVEN}
    assert "resources" not in line


def test_whom_an_issuer_vouches_for_is_a_web_identity(tmp_path: Path) -> None:
    call = structs.replace(
        CALLED,
        operation="AssumeRoleWithWebIdentity",
        caller=POD,
        access_key_id=None,
        input=AssumeRoleWithWebIdentityRequest(
            role_arn=ROLE, role_session_name="pod", web_identity_token="a.web.token"
        ),
        output=AssumeRoleWithWebIdentityResponse(
            credentials=CREDENTIALS,
            subject_from_web_identity_token=POD.user_id,
            provider=ISSUER,
            audience=POD.audience,
        ),
    )
    denied = structs.replace(call, output=None, error=AccessDeniedException("no"))
    line, refused = written(tmp_path, call, denied)

    assert line["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{ISSUER}:sts.amazonaws.com:system:serviceaccount:search:indexer",
        "userName": "system:serviceaccount:search:indexer",
        "identityProvider": ISSUER,
    }
    assert line["requestParameters"] == {"roleArn": ROLE, "roleSessionName": "pod"}
    assert line["responseElements"] == {
        "credentials": GIVEN,
        "subjectFromWebIdentityToken": POD.user_id,
        "provider": ISSUER,
        "audience": "sts.amazonaws.com",
    }
    assert line["resources"] == [{"accountId": ACCOUNT, "type": "AWS::IAM::Role", "ARN": ROLE}]
    assert (line["readOnly"], line["recipientAccountId"]) == (True, ACCOUNT)
    assert "additionalEventData" not in line
    assert (refused["errorCode"], refused["responseElements"]) == ("AccessDenied", None)
    assert refused["userIdentity"] == line["userIdentity"]
