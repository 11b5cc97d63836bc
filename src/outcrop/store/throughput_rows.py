"""A provisioned model throughput as a row: JSON, and in columns what is searched by."""

from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct, structs

from outcrop.store.database import Value, insertion
from outcrop.store.name_index import row_features
from outcrop.store.records import (
    CommitmentDuration,
    ProvisionedModelStatus,
    ProvisionedModelThroughputRecord,
)
from outcrop.wire.timestamps import to_micros

TABLE = "provisioned_model_throughputs"
COLUMNS = (
    "row_id",
    "scope_id",
    "provisioned_model_id",
    "provisioned_model_name",
    "status",
    "model_arn",
    "creation_time",
    "due_at",
    "version",
    "summary",
    "rest",
)
INSERT = insertion(TABLE, COLUMNS)
UPDATE = """
    UPDATE provisioned_model_throughputs SET provisioned_model_name = $2, status = $3,
    model_arn = $4, due_at = $5, version = $6, summary = $7, rest = $8 WHERE row_id = $1
"""


class _Summary(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """ProvisionedModelSummary, member by member."""

    provisioned_model_name: str
    provisioned_model_arn: str
    model_arn: str
    desired_model_arn: str
    foundation_model_arn: str
    model_units: int
    desired_model_units: int
    status: ProvisionedModelStatus
    commitment_duration: CommitmentDuration | None = None
    commitment_expiration_time: datetime | None = None
    creation_time: datetime
    last_modified_time: datetime


class _Rest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    account_id: str
    region: str
    provisioned_model_id: str
    failure_message: str | None = None
    due_at: datetime | None = None
    version: int = 0


class _Created(Struct, frozen=True, rename="camel"):
    creation_time: datetime


_REST_FIELDS = _Rest.__struct_fields__
_decode_summary = msgspec.json.Decoder(_Summary).decode
_decode_created = msgspec.json.Decoder(_Created).decode
_decode_rest = msgspec.json.Decoder(_Rest).decode
_encode = msgspec.json.Encoder().encode


def decode(summary: str, rest: str) -> ProvisionedModelThroughputRecord:
    return ProvisionedModelThroughputRecord(
        **structs.asdict(_decode_summary(summary)), **structs.asdict(_decode_rest(rest))
    )


def encode(record: ProvisionedModelThroughputRecord) -> tuple[str, str]:
    """The summary, and the rest."""
    members = structs.asdict(record)
    rest = _Rest(**{name: members.pop(name) for name in _REST_FIELDS})
    return _encode(_Summary(**members)).decode(), _encode(rest).decode()


@lru_cache(maxsize=1_024)
def position_of(summary: str) -> int:
    """Its creation in microseconds: its place in every listing.

    Remembered, since a page that is asked for again mostly ends where it ended before.
    """
    return to_micros(_decode_created(summary).creation_time)


def row_of(
    row_id: int, scope_id: int, record: ProvisionedModelThroughputRecord
) -> tuple[int, int, str, str, str, str, int, int | None, int, str, str]:
    """The values of COLUMNS."""
    return (
        row_id,
        scope_id,
        record.provisioned_model_id,
        record.provisioned_model_name,
        record.status,
        record.model_arn,
        to_micros(record.creation_time),
        to_micros(record.due_at) if record.due_at else None,
        record.version,
        *encode(record),
    )


def change_of(row_id: int, record: ProvisionedModelThroughputRecord) -> tuple[Value, ...]:
    """The values of UPDATE."""
    _, _, _, name, status, model_arn, _, *changed = row_of(row_id, 0, record)
    return row_id, name, status, model_arn, *changed


def features_of(record: ProvisionedModelThroughputRecord) -> set[int]:
    return row_features(record.provisioned_model_name, record.status, record.model_arn)
