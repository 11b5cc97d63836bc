"""What becomes of a provisioned model as time passes: pure, from a record and a moment to a record.

Creating → InService or Failed; Updating → InService or Failed; a commitment renews at its end.
"""

import calendar
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from outcrop.store.records import ProvisionedModelThroughputRecord

Refusal = Callable[[ProvisionedModelThroughputRecord], str | None]
"""Why the fleet cannot hold these model units (a failureMessage), or None when it can."""

COMMITMENT_MONTHS: Mapping[str, int] = {"OneMonth": 1, "SixMonths": 6}

# Decision: a term renews by itself the moment it ends, as on Amazon; who does not want the next one
# has this long to delete (Amazon's page only says that one cannot delete before the term ends).
DECLINE_WINDOW = timedelta(hours=24)


def add_months(moment: datetime, months: int) -> datetime:
    """The same day so many months later, or that month's last day."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def commitment_end(start: datetime, duration: str | None, after: datetime) -> datetime | None:
    """The end of the term that `after` falls into; None without a commitment."""
    if duration is None:
        return None
    months = term = COMMITMENT_MONTHS[duration]
    # From the start each time: adding to a clamped day would walk from the 31st to the 28th.
    while add_months(start, months) <= after:
        months += term
    return add_months(start, months)


def deletable_at(record: ProvisionedModelThroughputRecord, now: datetime) -> datetime | None:
    """The date before which a commitment refuses deletion; None when nothing does."""
    end = record.commitment_expiration_time
    duration = record.commitment_duration
    if end is None or duration is None:
        return None
    terms_ago = commitment_end(record.creation_time, duration, now - DECLINE_WINDOW)
    return None if terms_ago is not None and terms_ago <= now else end


def advanced(
    record: ProvisionedModelThroughputRecord, now: datetime, refusal: Refusal
) -> ProvisionedModelThroughputRecord:
    """The record as it stands at `now`; the same object when nothing is due."""
    if record.due_at is None or now < record.due_at:
        return record
    if record.status in {"Creating", "Updating"}:
        record = _settled(record, refusal)
    if record.status == "Failed":
        return replace(record, commitment_expiration_time=None, due_at=None)
    end = commitment_end(record.creation_time, record.commitment_duration, now)
    return replace(record, commitment_expiration_time=end, due_at=end)


def _settled(
    record: ProvisionedModelThroughputRecord, refusal: Refusal
) -> ProvisionedModelThroughputRecord:
    assert record.due_at is not None
    # The store may have set the creation a little later than the clock said.
    settled_at = max(record.due_at, record.creation_time)
    failure_message = refusal(record)
    if failure_message is None:
        return replace(
            record,
            status="InService",
            model_arn=record.desired_model_arn,
            model_units=record.desired_model_units,
            last_modified_time=settled_at,
        )
    return replace(
        record,
        status="Failed",
        failure_message=failure_message,
        last_modified_time=settled_at,
    )
