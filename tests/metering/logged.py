"""Spooled records, and what was delivered of them."""

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import convert, msgpack

from outcrop.metering.delivery.records import Delivered
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.log_records import SpooledRecord
from outcrop.store.usage_records import frame
from outcrop.wire.shapes.bedrock import LoggingConfig
from outcrop.wire.timestamps import to_micros

ACCOUNT, REGION = "111122223333", "us-east-1"
AT = datetime(2026, 11, 22, 5, 59, 59, tzinfo=UTC)
TO_BUCKET: Mapping[str, Any] = {"s3Config": {"bucketName": "logs", "keyPrefix": "team/"}}
FOLDER = f"team/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/11/22/05"


def logging_config(**members: Any) -> LoggingConfig:
    return convert({**TO_BUCKET, **members}, LoggingConfig)


def spooled(config: LoggingConfig | None = None, **members: Any) -> SpooledRecord:
    given: dict[str, Any] = {
        "config": config or logging_config(),
        "at": to_micros(AT),
        "account_id": ACCOUNT,
        "region": REGION,
        "request_id": "r-1",
        "operation": "Converse",
        "model_id": "amazon.nova-lite-v1:0",
        "principal_arn": f"arn:aws:iam::{ACCOUNT}:user/ann",
        "request_metadata": None,
        "inference_region": REGION,
        "error": None,
        "input_content_type": "application/json",
        "input_body": b'{"messages": []}',
        "output_body": b'{"output": {}}',
        "input_tokens": 11,
        "output_tokens": 7,
        "cache_read_input_tokens": None,
        "cache_write_input_tokens": None,
    }
    return SpooledRecord(**{**given, **members})


def frames(records: Sequence[SpooledRecord]) -> bytes:
    return b"".join(frame(msgpack.encode(record)) for record in records)


def lines(delivered: Delivered) -> list[Any]:
    body = gzip.decompress(delivered.body) if delivered.content_encoding else delivered.body
    return [json.loads(line) for line in body.splitlines()]


class Shelf:
    """A sink that keeps what it is given, by place and key; it may be told to refuse."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.refuses: set[str] = set()
        self.puts = 0

    async def put(self, delivered: Delivered) -> None:
        self.puts += 1
        if delivered.place.name in self.refuses:
            raise UndeliveredError("no")
        self.objects[delivered.place.name, delivered.key] = delivered.body

    async def aclose(self) -> None:
        """Nothing is open."""

    def request_ids(self, name: str) -> list[str]:
        """Of the records in one bucket."""
        return [
            json.loads(line)["requestId"]
            for (place, key), body in self.objects.items()
            if place == name and "/data/" not in key
            for line in gzip.decompress(body).splitlines()
        ]
