from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from outcrop.control.lifecycle import add_months, advanced, commitment_end, deletable_at
from outcrop.store.records import CommitmentDuration, ProvisionedModelThroughputRecord

BORN = datetime(2026, 1, 31, 12, tzinfo=UTC)
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:24k"


def record(duration: CommitmentDuration | None = None) -> ProvisionedModelThroughputRecord:
    return ProvisionedModelThroughputRecord(
        account_id="111122223333",
        region="us-east-1",
        provisioned_model_id="abcdefghijkl",
        provisioned_model_name="units",
        provisioned_model_arn="arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl",
        model_arn=MODEL,
        desired_model_arn=MODEL,
        foundation_model_arn=MODEL,
        model_units=2,
        desired_model_units=2,
        status="Creating",
        commitment_duration=duration,
        commitment_expiration_time=commitment_end(BORN, duration, BORN),
        creation_time=BORN,
        last_modified_time=BORN,
        due_at=BORN + timedelta(seconds=5),
    )


def held(_: ProvisionedModelThroughputRecord) -> None:
    return None


def refused(_: ProvisionedModelThroughputRecord) -> str:
    return "No room."


@pytest.mark.parametrize(
    ("moment", "months", "expected"),
    [
        (datetime(2026, 1, 31, tzinfo=UTC), 1, datetime(2026, 2, 28, tzinfo=UTC)),
        (datetime(2028, 1, 31, tzinfo=UTC), 1, datetime(2028, 2, 29, tzinfo=UTC)),
        (datetime(2026, 8, 15, tzinfo=UTC), 6, datetime(2027, 2, 15, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), 1, datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_months_end_on_the_same_day_or_the_last(
    moment: datetime, months: int, expected: datetime
) -> None:
    assert add_months(moment, months) == expected


def test_nothing_happens_before_it_is_due() -> None:
    new = record()

    assert advanced(new, BORN + timedelta(seconds=4), held) is new


def test_creating_becomes_in_service() -> None:
    now = BORN + timedelta(minutes=9)

    after = advanced(record(), now, held)

    assert after.status == "InService"
    assert after.last_modified_time == BORN + timedelta(seconds=5)
    assert after.due_at is None
    assert advanced(after, now, held) is after


def test_creating_becomes_failed_with_a_reason() -> None:
    after = advanced(record("OneMonth"), BORN + timedelta(seconds=5), refused)

    assert (after.status, after.failure_message) == ("Failed", "No room.")
    assert after.due_at is None
    assert after.commitment_expiration_time is None
    assert deletable_at(after, BORN + timedelta(seconds=6)) is None


def test_an_update_brings_the_desired_model() -> None:
    updating = replace(record(), status="Updating", desired_model_arn="other")

    after = advanced(updating, BORN + timedelta(seconds=5), held)

    assert (after.status, after.model_arn, after.desired_model_arn) == (
        "InService",
        "other",
        "other",
    )


def test_a_commitment_renews_from_its_first_day() -> None:
    after = advanced(record("OneMonth"), BORN + timedelta(seconds=5), held)
    assert after.commitment_expiration_time == datetime(2026, 2, 28, 12, tzinfo=UTC)

    february_over = advanced(after, datetime(2026, 2, 28, 12, tzinfo=UTC), held)
    assert february_over.commitment_expiration_time == datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert february_over.due_at == february_over.commitment_expiration_time

    asleep_for_long = advanced(after, datetime(2026, 7, 1, tzinfo=UTC), held)
    assert asleep_for_long.commitment_expiration_time == datetime(2026, 7, 31, 12, tzinfo=UTC)


def test_a_term_refuses_deletion_until_it_ends_and_a_day_of_grace_follows() -> None:
    after = advanced(record("SixMonths"), BORN + timedelta(seconds=5), held)
    end = datetime(2026, 7, 31, 12, tzinfo=UTC)

    assert deletable_at(after, end - timedelta(microseconds=1)) == end
    renewed = advanced(after, end, held)
    assert renewed.commitment_expiration_time == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert deletable_at(renewed, end) is None
    assert deletable_at(renewed, end + timedelta(hours=23)) is None
    assert deletable_at(renewed, end + timedelta(hours=25)) == datetime(2027, 1, 31, 12, tzinfo=UTC)
