"""A provisioned model throughput as a row: JSON, and in columns what is searched by."""

import msgspec

from outcrop.store.database import Value, insertion
from outcrop.store.name_index import row_features
from outcrop.store.records import ProvisionedModelThroughputRecord
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


decode = msgspec.json.Decoder(ProvisionedModelThroughputRecord).decode
_encode = msgspec.json.Encoder().encode


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
        _encode(record).decode(),
    )


def change_of(row_id: int, record: ProvisionedModelThroughputRecord) -> tuple[Value, ...]:
    """The values of UPDATE."""
    _, _, _, name, status, model_arn, _, due_at, version, text = row_of(row_id, 0, record)
    return row_id, name, status, model_arn, due_at, version, text


def features_of(record: ProvisionedModelThroughputRecord) -> set[int]:
    return row_features(record.provisioned_model_name, record.status, record.model_arn)
