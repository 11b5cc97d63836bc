"""Spooled records as what is delivered: gzipped JSON lines, and large bodies by themselves. Pure.

The same spool always makes the same objects under the same keys: twice is as good as once.
Amazon Bedrock User Guide, "Monitor model invocation using CloudWatch Logs and Amazon S3".
"""

import gzip
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import DecodeError, Raw, Struct, json, msgpack

from outcrop.metering.delivery.media import Media, extracted
from outcrop.metering.invocation_log import JSON, SpooledRecord
from outcrop.store.usage_records import payloads_in
from outcrop.wire.shapes.bedrock import LoggingConfig, S3Config
from outcrop.wire.timestamps import from_micros

INLINE_BYTES = 100 * 1024
"""A longer body is an object of its own."""
LOG_STREAM = "aws/bedrock/modelinvocations"

COMPRESSION = 3
"""Of zlib's nine: half the time of its usual six, for a tenth more bytes."""
_SECOND, _HOUR = 1_000_000, 3_600_000_000
"""In microseconds."""

Kind = Literal["bucket", "log_group"]


class Place(NamedTuple):
    kind: Kind
    name: str


class Delivered(Struct, frozen=True, kw_only=True):
    """One object of a bucket, or one batch of a log group's events."""

    place: Place
    account_id: str
    region: str
    """Whose it is."""
    key: str
    body: bytes
    large: bool = False
    """Whether it is what a record refers to, and no record itself."""
    content_type: str = JSON
    content_encoding: str | None = None


class LogInput(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    input_content_type: str | None = None
    input_body_json: Raw | None = None
    input_body_s3_path: str | None = None
    input_token_count: int | None = None
    cache_read_input_token_count: int | None = None
    cache_write_input_token_count: int | None = None


class LogOutput(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    output_content_type: str | None = None
    output_body_json: Raw | None = None
    output_body_s3_path: str | None = None
    output_token_count: int | None = None


class Identity(Struct, frozen=True):
    arn: str


class LogRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Amazon's schema 1.0."""

    timestamp: str
    account_id: str
    region: str
    request_id: str
    operation: str
    model_id: str | None = None
    error_code: str | None = None
    input: LogInput
    output: LogOutput
    identity: Identity
    request_metadata: Mapping[str, str] | None = None
    inference_region: str | None = None
    schema_type: Literal["ModelInvocationLog"]
    schema_version: Literal["1.0"]


_decode = msgpack.Decoder(SpooledRecord).decode


def delivered(frames: bytes, batch_id: str) -> Iterator[Delivered]:
    """What the whole frames of one journal make; `batch_id` is the journal's."""
    lines: dict[_Batch, list[bytes]] = {}
    for payload in payloads_in(frames):
        spooled = _decode(payload)
        for place, folder, large in _destinations(spooled):
            line, objects = _record(spooled, large)
            yield from objects
            batch = _Batch(place, spooled.account_id, spooled.region, folder)
            lines.setdefault(batch, []).append(line)
    for batch, records in lines.items():
        yield batch.delivered(b"".join(records), batch_id)


class _Batch(NamedTuple):
    """Records that are one object."""

    place: Place
    account_id: str
    region: str
    begin: str
    """Of its key."""

    def delivered(self, lines: bytes, batch_id: str) -> Delivered:
        zipped = self.place.kind == "bucket"
        return Delivered(
            place=self.place,
            account_id=self.account_id,
            region=self.region,
            key=f"{self.begin}_{batch_id[:16]}{'.json.gz' if zipped else '.jsonl'}",
            body=gzip.compress(lines, COMPRESSION, mtime=0) if zipped else lines,
            content_encoding="gzip" if zipped else None,
        )


def places(config: LoggingConfig) -> Iterable[tuple[Place, str]]:
    """Where something may be delivered to, and the keys' prefix there."""
    if config.s3_config:
        yield bucket_of(config.s3_config), config.s3_config.key_prefix or ""
    if config.cloud_watch_config:
        yield Place("log_group", config.cloud_watch_config.log_group_name), ""
        large = config.cloud_watch_config.large_data_delivery_s3_config
        if large:
            yield bucket_of(large), large.key_prefix or ""


def bucket_of(config: S3Config) -> Place:
    return Place("bucket", config.bucket_name)


def log_folder(account_id: str, region: str, log_group: str) -> str:
    """Log groups belong to an account and Region; bucket names are everybody's."""
    return f"{account_id}/{region}/{log_group.strip('/')}/{LOG_STREAM}"


def under(prefix: str, account_id: str) -> str:
    """Where an account's log begins in a bucket."""
    own = f"AWSLogs/{account_id}/BedrockModelInvocationLogs"
    return f"{prefix.strip('/')}/{own}" if prefix.strip("/") else own


def _destinations(spooled: SpooledRecord) -> Iterator[tuple[Place, str, S3Config | None]]:
    """The place of the record, how its key begins, and where its large bodies go."""
    config = spooled.config
    if config.s3_config:
        begin = f"{_folder(config.s3_config, spooled)}/{_hour(spooled.at // _HOUR)}"
        yield bucket_of(config.s3_config), begin, config.s3_config
    if config.cloud_watch_config:
        large = config.cloud_watch_config.large_data_delivery_s3_config
        group = config.cloud_watch_config.log_group_name
        folder = log_folder(spooled.account_id, spooled.region, group)
        yield Place("log_group", group), f"{folder}/{_hour(spooled.at // _HOUR)}", large


def _folder(config: S3Config, spooled: SpooledRecord) -> str:
    own = under(config.key_prefix or "", spooled.account_id)
    return f"{own}/{spooled.region}/{_hours_folder(spooled.at // _HOUR)}"


# Spelt once for all records of an hour, or second: it took a third of all that delivering takes.


@lru_cache(maxsize=16)
def _hour(hour: int) -> str:
    """One file holds records of one hour."""
    return f"{from_micros(hour * _HOUR):%Y%m%dT%H}0000000Z"


@lru_cache(maxsize=16)
def _hours_folder(hour: int) -> str:
    return f"{from_micros(hour * _HOUR):%Y/%m/%d/%H}"


@lru_cache(maxsize=16)
def _timestamp(second: int) -> str:
    return f"{from_micros(second * _SECOND):%Y-%m-%dT%H:%M:%SZ}"


def _record(spooled: SpooledRecord, large: S3Config | None) -> tuple[bytes, list[Delivered]]:
    """The line of one record, and what it refers to."""
    objects: list[Delivered] = []
    asked = _body(spooled, "input", spooled.input_body, large, objects)
    answered = _body(spooled, "output", spooled.output_body, large, objects)
    failed = spooled.error is not None
    record = LogRecord(
        timestamp=_timestamp(spooled.at // _SECOND),
        account_id=spooled.account_id,
        region=spooled.region,
        request_id=spooled.request_id,
        operation=spooled.operation,
        model_id=spooled.model_id,
        error_code=spooled.error,
        input=LogInput()
        if failed and spooled.input_body is None
        else LogInput(
            input_content_type=spooled.input_content_type,
            input_body_json=asked.json,
            input_body_s3_path=asked.s3_path,
            input_token_count=spooled.input_tokens,
            cache_read_input_token_count=spooled.cache_read_input_tokens,
            cache_write_input_token_count=spooled.cache_write_input_tokens,
        ),
        output=LogOutput()
        if failed and spooled.output_body is None
        else LogOutput(
            output_content_type=JSON,
            output_body_json=answered.json,
            output_body_s3_path=answered.s3_path,
            output_token_count=spooled.output_tokens,
        ),
        identity=Identity(spooled.principal_arn),
        request_metadata=spooled.request_metadata,
        inference_region=spooled.inference_region,
        schema_type="ModelInvocationLog",
        schema_version="1.0",
    )
    return json.encode(record) + b"\n", objects


class _Body(NamedTuple):
    json: Raw | None = None
    s3_path: str | None = None


def _body(
    spooled: SpooledRecord,
    side: Literal["input", "output"],
    body: bytes | None,
    large: S3Config | None,
    objects: list[Delivered],
) -> _Body:
    if body is None:
        return _Body()
    name = f"{_folder(large, spooled)}/data/{spooled.request_id}_{side}" if large else None
    uri = f"s3://{large.bucket_name}/{name}" if large else None
    line, media = extracted(_one_line(body), spooled.config, uri)
    if large:
        objects += [_medium(spooled, large, f"{name}{medium.suffix}", medium) for medium in media]
    if len(line) <= INLINE_BYTES:
        return _Body(json=Raw(line))
    if large is None:
        return _Body()
    objects.append(
        Delivered(
            place=bucket_of(large),
            account_id=spooled.account_id,
            region=spooled.region,
            key=f"{name}.json.gz",
            body=gzip.compress(line, COMPRESSION, mtime=0),
            large=True,
            content_encoding="gzip",
        )
    )
    return _Body(s3_path=f"{uri}.json.gz")


def _medium(spooled: SpooledRecord, large: S3Config, key: str, medium: Media) -> Delivered:
    return Delivered(
        place=bucket_of(large),
        account_id=spooled.account_id,
        region=spooled.region,
        key=key,
        body=medium.data,
        large=True,
        content_type="application/octet-stream",
    )


def _one_line(body: bytes) -> bytes:
    """JSON without white space; what is not JSON, as refused requests may be, as a JSON string."""
    try:
        body.decode()
        return json.format(body, indent=-1)
    except (DecodeError, UnicodeDecodeError):
        return json.encode(body.decode(errors="replace"))
