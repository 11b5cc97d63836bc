"""What was said, as journals hold it, and what was delivered of it."""

import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import convert

from outcrop.metering.delivery.records import Delivered
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.log_records import Owner, Told, encode_owner, said_frame
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    batch,
    encode_circumstances,
    frame,
)
from outcrop.wire.shapes.bedrock import LoggingConfig
from outcrop.wire.timestamps import to_micros

ACCOUNT, REGION = "111122223333", "us-east-1"
AT = datetime(2026, 11, 22, 5, 59, 59, tzinfo=UTC)
TO_BUCKET: Mapping[str, Any] = {"s3Config": {"bucketName": "logs", "keyPrefix": "team/"}}
FOLDER = f"team/AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/11/22/05"


def logging_config(**members: Any) -> LoggingConfig:
    return convert({**TO_BUCKET, **members}, LoggingConfig)


def told(config: LoggingConfig | None = None, **members: Any) -> Told:
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
    return Told(**{**given, **members})


def frames(records: Sequence[Told]) -> bytes:
    """Each written alone: its usage, and what was said."""
    return b"".join(map(_frames, records))


def _frames(record: Told) -> bytes:
    shared = Circumstances(
        operation=record.operation,
        account_id=record.account_id,
        principal_arn=record.principal_arn,
        region=record.region,
        inference_region=record.inference_region,
        model_id=record.model_id,
        foundation_model_id=record.model_id,
        inference_profile_arn=None,
        provisioned_model_arn=None,
        tags=(),
        streamed=False,
        outcome="client_error" if record.error else "success",
        status=400 if record.error else 200,
        error=record.error,
        service_tier=None,
        resolved_service_tier=None,
        rates=None,
    )
    call = Call(
        request_id=record.request_id,
        began_at=record.at,
        first_event_us=None,
        duration_us=1_000,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cache_read_input_tokens=record.cache_read_input_tokens or 0,
        cache_write_input_tokens=record.cache_write_input_tokens or 0,
        estimated=False,
        request_metadata=record.request_metadata,
    )
    owner = encode_owner(Owner(record.config, record.account_id, record.region))
    said = record.input_content_type, record.input_body, record.output_body
    calls = batch(encode_circumstances(shared), [call])
    return frame(calls) + said_frame(owner, b"", [said])


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
