"""A provisioned model throughput as a row: JSON, and in columns what is searched by."""

from datetime import datetime

import msgspec
from msgspec import Struct, field, structs

from outcrop.store.database import Value, insertion
from outcrop.store.listed import PRIVATE
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
    "record",
)
INSERT = insertion(TABLE, COLUMNS)
UPDATE = """
    UPDATE provisioned_model_throughputs SET provisioned_model_name = $2, status = $3,
    model_arn = $4, due_at = $5, version = $6, record = $7 WHERE row_id = $1
"""


class _Private(Struct, frozen=True, kw_only=True, omit_defaults=True):
    account_id: str
    region: str
    provisioned_model_id: str
    failure_message: str | None = None
    due_at: datetime | None = None
    version: int = 0


class _Kept(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """ProvisionedModelSummary, member by member, and the rest (store/listed.py)."""

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
    private: _Private = field(name=PRIVATE)


_PRIVATE_FIELDS = _Private.__struct_fields__
_decode = msgspec.json.Decoder(_Kept).decode
_encode = msgspec.json.Encoder().encode


def decode(text: str) -> ProvisionedModelThroughputRecord:
    kept = structs.asdict(_decode(text))
    private: _Private = kept.pop("private")
    return ProvisionedModelThroughputRecord(**kept, **structs.asdict(private))


def encode(record: ProvisionedModelThroughputRecord) -> str:
    members = structs.asdict(record)
    private = _Private(**{name: members.pop(name) for name in _PRIVATE_FIELDS})
    return _encode(_Kept(**members, private=private)).decode()


def row_of(
    row_id: int, scope_id: int, record: ProvisionedModelThroughputRecord
) -> tuple[int, int, str, str, str, str, int, int | None, int, str]:
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
        encode(record),
    )


def change_of(row_id: int, record: ProvisionedModelThroughputRecord) -> tuple[Value, ...]:
    """The values of UPDATE."""
    _, _, _, name, status, model_arn, _, due_at, version, text = row_of(row_id, 0, record)
    return row_id, name, status, model_arn, due_at, version, text


def features_of(record: ProvisionedModelThroughputRecord) -> set[int]:
    return row_features(record.provisioned_model_name, record.status, record.model_arn)
