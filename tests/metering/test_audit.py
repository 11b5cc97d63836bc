"""The audit trail: CloudTrail's shape, no secrets, files of bounded length."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from outcrop.metering.audit import AuditTrail
from outcrop.metering.audit_record import HIDDEN
from outcrop.metering.config import AuditConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.wire.errors import AccessDeniedException, ThrottlingException
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    CreateInferenceProfileResponse,
    InferenceProfileModelSource,
)
from tests.clocks import FakeClock
from tests.metering.audited import INVOKED, written
from tests.runtime.requests import ACCOUNT, invocation


def test_a_call_of_a_model_tells_its_model_and_nothing_that_was_said(tmp_path: Path) -> None:
    (line,) = written(tmp_path, INVOKED)

    assert line == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "Root",
            "principalId": ACCOUNT,
            "arn": f"arn:aws:iam::{ACCOUNT}:root",
            "accountId": ACCOUNT,
            "accessKeyId": "AKIA1",
        },
        "eventTime": "2026-11-22T12:00:00Z",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "Converse",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "10.0.0.7",
        "userAgent": "Boto3/1.44",
        "requestParameters": {"modelId": "amazon.nova-lite-v1:0"},
        "responseElements": None,
        "additionalEventData": {"inferenceRegion": "us-west-2"},
        "requestID": "r-1",
        "eventID": line["eventID"],
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }


def test_what_callers_write_is_told_as_they_wrote_it(tmp_path: Path) -> None:
    strange = {"user_agent": '100% "b"', "access_key_id": None}
    calls = [
        structs.replace(INVOKED, **strange, operation="%d", source_address=""),
        structs.replace(INVOKED, user_agent=None, model_id=None),
    ]
    one, other = written(tmp_path, *calls)

    assert (one["userAgent"], one["eventName"]) == ('100% "b"', "%d")
    assert "sourceIPAddress" not in one
    assert "accessKeyId" not in one["userIdentity"]
    assert (other["userAgent"], other["requestParameters"]) == (None, None)


def test_every_call_has_an_event_of_its_own(tmp_path: Path) -> None:
    ids = [line["eventID"] for _ in range(2) for line in written(tmp_path, *[INVOKED] * 100)]

    assert len(set(ids)) == 200
    assert {str(UUID(one)) for one in ids} == set(ids)


def test_calls_that_end_together_are_told_each_by_itself(tmp_path: Path) -> None:
    """Some like the one before, some not; one was told already, one failed."""
    path, clock = tmp_path / "audit.jsonl", FakeClock()
    asked: list[ModelInvocation] = []
    for number, (model, region, agent) in enumerate(
        [("a", "us-east-1", None), ("a", "us-east-1", None), ("b", "us-east-1", None)]
        + [("a", "us-west-2", None), ("a", "us-west-2", "boto"), ("a", "us-east-1", None)] * 2
    ):
        made = invocation()
        made.request_id, made.began_at = f"r-{number}", clock()
        made.model_id, made.inference_region = model, region
        made.headers = {"user-agent": agent} if agent else {}
        made.error = ThrottlingException("later") if number == 1 else None
        asked.append(made)
        clock.advance(seconds=0.4)
    asked[6].audited = True

    trail = AuditTrail(path, AuditConfig(file=path), clock=clock)
    trail.add_invocations(asked)
    trail.add_invocations(asked)
    trail.close()

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = [
        (
            line["requestID"],
            line["eventTime"],
            line["requestParameters"]["modelId"],
            line.get("additionalEventData", {}).get("inferenceRegion"),
            line["userAgent"],
            line.get("errorCode"),
        )
        for line in lines
    ]
    assert told == [
        ("r-0", "2026-11-22T12:00:00Z", "a", None, None, None),
        ("r-1", "2026-11-22T12:00:00Z", "a", None, None, "ThrottlingException"),
        ("r-2", "2026-11-22T12:00:00Z", "b", None, None, None),
        ("r-3", "2026-11-22T12:00:01Z", "a", "us-west-2", None, None),
        ("r-4", "2026-11-22T12:00:01Z", "a", "us-west-2", "boto", None),
        ("r-5", "2026-11-22T12:00:02Z", "a", None, None, None),
        ("r-7", "2026-11-22T12:00:02Z", "a", "us-west-2", "boto", None),
        ("r-8", "2026-11-22T12:00:03Z", "a", None, None, None),
    ]
    assert len({line["eventID"] for line in lines}) == len(lines)


def test_a_call_that_stayed_in_its_region_says_no_other(tmp_path: Path) -> None:
    (line,) = written(tmp_path, structs.replace(INVOKED, inference_region="us-east-1"))

    assert "additionalEventData" not in line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AccessDeniedException("no"), "AccessDenied"),
        (ThrottlingException("no"), "ThrottlingException"),
    ],
)
def test_a_refusal_says_why(tmp_path: Path, error: Any, code: str) -> None:
    (line,) = written(tmp_path, structs.replace(INVOKED, error=error))

    assert (line["errorCode"], line["errorMessage"]) == (code, "no")


def test_a_change_tells_what_was_asked_and_answered_but_nothing_sensitive(tmp_path: Path) -> None:
    asked = CreateInferenceProfileRequest(
        inference_profile_name="blue",
        description="told to nobody",
        model_source=InferenceProfileModelSource(copy_from="arn:x"),
    )
    created = structs.replace(
        INVOKED,
        operation="CreateInferenceProfile",
        input=asked,
        output=CreateInferenceProfileResponse(inference_profile_arn="arn:y"),
        inference_region=None,
        changes=True,
    )
    (line,) = written(tmp_path, created)

    assert line["requestParameters"] == {
        "inferenceProfileName": "blue",
        "description": HIDDEN,
        "modelSource": {"copyFrom": "arn:x"},
    }
    assert line["responseElements"] == {"inferenceProfileArn": "arn:y"}
    assert not line["readOnly"]


def test_a_read_answers_nothing_in_the_trail(tmp_path: Path) -> None:
    read = structs.replace(
        INVOKED,
        operation="GetInferenceProfile",
        output=CreateInferenceProfileResponse(inference_profile_arn="arn:y"),
        changes=True,
    )
    (line,) = written(tmp_path, read)

    assert (line["readOnly"], line["responseElements"]) == (True, None)


def test_full_files_are_put_aside_and_only_so_many_stay(tmp_path: Path) -> None:
    calls = [
        structs.replace(INVOKED, request_id=f"r-{n}", user_agent="x" * 3_000) for n in range(12)
    ]
    last = written(tmp_path, *calls, max_bytes=4_096, keep_files=3)

    aside = sorted(path for path in tmp_path.iterdir() if path.name != "audit.jsonl")
    kept = [json.loads(line) for path in aside for line in path.read_text().splitlines()]
    assert len(aside) == 3
    # The newest, without a gap.
    assert [line["requestID"] for line in [*kept, *last]] == [f"r-{n}" for n in range(4, 12)]


def test_two_workers_share_a_file_and_follow_each_others_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    config = AuditConfig(file=path, max_bytes=4_096)
    clock = FakeClock()

    async def main() -> None:
        trails = [AuditTrail(path, config, clock=clock) for _ in range(2)]
        for number in range(40):
            clock.advance(seconds=1)
            trails[number % 2].add(structs.replace(INVOKED, request_id=f"r-{number}"))
        for trail in trails:
            trail.close()

    asyncio.run(main())
    files = sorted(tmp_path.iterdir(), key=lambda one: (one == path, one.name))
    found = [
        json.loads(line)["requestID"] for one in files for line in one.read_text().splitlines()
    ]
    assert len(files) > 3
    assert found == [f"r-{number}" for number in range(40)]
