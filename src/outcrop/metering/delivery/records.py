"""Spooled records as what is delivered: gzipped JSON lines, and large bodies by themselves. Pure.

The same spool always makes the same objects under the same keys: twice is as good as once.
Amazon Bedrock User Guide, "Monitor model invocation using CloudWatch Logs and Amazon S3".
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from isal import igzip
from msgspec import Raw, Struct, json, msgpack

from outcrop.metering.delivery.media import Media, extracted
from outcrop.metering.log_records import (
    INLINE_BYTES,
    JSON,
    LINES,
    Body,
    Owner,
    SpooledLines,
    SpooledRecord,
    log_record,
    one_line,
)
from outcrop.store.usage_records import payloads_in
from outcrop.wire.shapes.bedrock import LoggingConfig, S3Config
from outcrop.wire.timestamps import from_micros, to_micros

LOG_STREAM = "aws/bedrock/modelinvocations"

COMPRESSION = 3
"""Of ISA-L's levels, its highest: a quarter of the time of zlib's third, and no more bytes."""
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


_decode = msgpack.Decoder(SpooledRecord).decode
_decode_lines = msgpack.Decoder(SpooledLines).decode
_decode_owner = msgpack.Decoder(Owner).decode


def delivered(frames: bytes, batch_id: str) -> Iterator[Delivered]:
    """What the whole frames of one journal make; `batch_id` is the journal's."""
    batches: dict[_Batch, list[bytes]] = {}
    known: dict[tuple[bytes, str], Sequence[list[bytes]]] = {}
    for payload in payloads_in(frames):
        if payload[0] == LINES:
            spooled = _decode_lines(payload)
            of = spooled.owner, spooled.hour
            if of not in known:
                began_at = to_micros(datetime.fromisoformat(f"{spooled.hour}:00Z"))
                into = _destinations(_decode_owner(spooled.owner), began_at // _HOUR)
                known[of] = [batches.setdefault(batch, []) for batch, _ in into]
            for lines in known[of]:
                lines.append(spooled.lines)
        else:
            yield from _one_by_one(_decode(payload), batches)
    for batch, lines in batches.items():
        yield batch.delivered(b"".join(lines), batch_id)


def _one_by_one(
    spooled: SpooledRecord, batches: dict["_Batch", list[bytes]]
) -> Iterator[Delivered]:
    """What the record refers to; its line goes to the others."""
    owner = Owner(spooled.config, spooled.account_id, spooled.region)
    for batch, large in _destinations(owner, spooled.at // _HOUR):
        line, objects = _record(spooled, large)
        yield from objects
        batches.setdefault(batch, []).append(line)


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
            body=_gzipped(lines) if zipped else lines,
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


def _destinations(owner: Owner, hour: int) -> Iterator[tuple[_Batch, S3Config | None]]:
    """With whom a record goes, and where its large bodies go."""
    config, account_id, region = owner.config, owner.account_id, owner.region
    if config.s3_config:
        begin = f"{_folder(config.s3_config, account_id, region, hour)}/{_hour(hour)}"
        place = bucket_of(config.s3_config)
        yield _Batch(place, account_id, region, begin), config.s3_config
    if config.cloud_watch_config:
        large = config.cloud_watch_config.large_data_delivery_s3_config
        group = config.cloud_watch_config.log_group_name
        begin = f"{log_folder(account_id, region, group)}/{_hour(hour)}"
        yield _Batch(Place("log_group", group), account_id, region, begin), large


def _folder(config: S3Config, account_id: str, region: str, hour: int) -> str:
    return f"{under(config.key_prefix or '', account_id)}/{region}/{_hours_folder(hour)}"


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
    record = log_record(spooled, _timestamp(spooled.at // _SECOND), asked, answered)
    return json.encode(record) + b"\n", objects


def _body(
    spooled: SpooledRecord,
    side: Literal["input", "output"],
    body: bytes | None,
    large: S3Config | None,
    objects: list[Delivered],
) -> Body:
    if body is None:
        return Body()
    name, uri = "", None
    if large:
        folder = _folder(large, spooled.account_id, spooled.region, spooled.at // _HOUR)
        name = f"{folder}/data/{spooled.request_id}_{side}"
        uri = f"s3://{large.bucket_name}/{name}"
    line, media = extracted(one_line(body), spooled.config, uri)
    if large:
        objects += [_medium(spooled, large, f"{name}{medium.suffix}", medium) for medium in media]
    if len(line) <= INLINE_BYTES:
        return Body(json=Raw(line))
    if large is None:
        return Body()
    objects.append(
        Delivered(
            place=bucket_of(large),
            account_id=spooled.account_id,
            region=spooled.region,
            key=f"{name}.json.gz",
            body=_gzipped(line),
            large=True,
            content_encoding="gzip",
        )
    )
    return Body(s3_path=f"{uri}.json.gz")


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


def _gzipped(body: bytes) -> bytes:
    return igzip.compress(body, COMPRESSION, mtime=0)  # pyright: ignore[reportUnknownMemberType]
