"""What was said as what is delivered: gzipped JSON lines, and large bodies by themselves. Pure.

The same journal always makes the same objects under the same keys: twice is as good as once.
Amazon Bedrock User Guide, "Monitor model invocation using CloudWatch Logs and Amazon S3".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, Literal, NamedTuple, TypeAlias

from isal import igzip
from msgspec import Raw, Struct, json

from outcrop.metering.delivery.media import Media, extracted
from outcrop.metering.forms import BLANK, BLANK_TEXT, form
from outcrop.metering.log_records import (
    INLINE_BYTES,
    JSON,
    Body,
    Owner,
    Said,
    Told,
    decode_owner,
    decode_said,
    log_record,
    may_have_media,
    one_line,
)
from outcrop.store.usage_records import (
    Call,
    Calls,
    Circumstances,
    calls_of,
    decode_circumstances,
    is_usage,
    payloads_in,
)
from outcrop.wire.shapes.bedrock import LoggingConfig, S3Config
from outcrop.wire.timestamps import from_micros

LOG_STREAM = "aws/bedrock/modelinvocations"

COMPRESSION = 3
"""Of ISA-L's levels, its highest: a quarter of the time of zlib's third, and no more bytes."""
_SECOND, _HOUR = 1_000_000, 3_600_000_000
"""In microseconds."""
_SECONDS = 3_600
"""Of an hour."""

_BLANKS = (b"%b", b"%b", b"%b", b"%d", b"%b", b"%d", b"")
"""Of the time, the id, what was asked, its tokens, what was answered, its tokens, and none."""

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


def delivered(frames: bytes, batch_id: str) -> Iterator[Delivered]:
    """What the whole frames of one journal make; `batch_id` is the journal's.

    Raises ValueError for what is none of ours.
    """
    calls = memoryview(b"")
    groups: dict[_Alike, list[_Frame]] = {}
    for payload in payloads_in(frames):
        if is_usage(payload):
            calls = payload
        else:
            said = decode_said(payload)
            frame = said, calls_of(said.calls or calls)
            groups.setdefault(_alike(*frame), []).append(frame)
    batches: _Batches = {}
    for group in groups.values():
        yield from _made(group, batches)
    for batch, lines in batches.items():
        yield batch.delivered(b"".join(lines), batch_id)


_Frame: TypeAlias = tuple[Said, Calls]
_Alike: TypeAlias = tuple[bytes, bytes, int]
"""Whose records, their circumstances, and the second in which the first of a frame began."""
_Batches: TypeAlias = "dict[_Batch, list[bytes]]"
"""Lines."""


def _alike(said: Said, calls: Calls) -> _Alike:
    return said.owner, calls.circumstances, calls.began_at[0] // _SECOND


def _made(group: Sequence[_Frame], batches: _Batches) -> Iterator[Delivered]:
    """What the records refer to; their lines go to the others of their hour."""
    columns = _Columns.of(group)
    if columns.can_be_filled_in:
        said, calls = group[0]
        second = calls.began_at[0] // _SECOND
        lines = columns.lines(calls.circumstances, second)
        for batch, _ in _destinations(decode_owner(said.owner), second // _SECONDS):
            batches.setdefault(batch, []).append(lines)
    elif len(group) > 1:
        for frame in group:
            yield from _made([frame], batches)
    else:
        yield from _made_one_by_one(*group[0], batches)


def _made_one_by_one(said: Said, calls: Calls, batches: _Batches) -> Iterator[Delivered]:
    owner = decode_owner(said.owner)
    rows = zip(calls.rows, said.content_type, said.asked, said.answered, strict=True)
    for row, content_type, asked, answered in rows:
        told = _told(owner, calls.circumstances, Call(*row), content_type, asked, answered)
        for batch, large in _destinations(owner, told.at // _HOUR):
            line, objects = _record(told, large)
            yield from objects
            batches.setdefault(batch, []).append(line)


class _Columns(Struct, frozen=True, kw_only=True):
    """Of records that have circumstances and account in common."""

    frames: Sequence[_Frame]
    asked: list[bytes | None]
    answered: list[bytes | None]

    @classmethod
    def of(cls, frames: Sequence[_Frame]) -> "_Columns":
        return cls(
            frames=frames,
            asked=list(chain.from_iterable(said.asked for said, _ in frames)),
            answered=list(chain.from_iterable(said.answered for said, _ in frames)),
        )

    @property
    def can_be_filled_in(self) -> bool:
        """Whether lines differ in nothing but ids, bodies and tokens: nearly always."""
        said, calls = self.frames[0]
        bodies = [*filter(None, self.asked), *filter(None, self.answered)]
        return (
            len(bodies) == 2 * len(self.asked)
            and _circumstances(calls.circumstances).outcome == "success"  # or it need not be JSON
            and all(map(_is_usual, self.frames))
            and len(set(chain.from_iterable(one.content_type for one, _ in self.frames))) == 1
            and _are_as_delivered(decode_owner(said.owner).config, bodies)
        )

    def lines(self, circumstances: bytes, second: int) -> bytes:
        """All at once, which takes a tenth of what it takes one by one."""
        said, _ = self.frames[0]
        values = zip(
            repeat(_timestamp(second).encode(), len(self.asked)),
            map(str.encode, chain.from_iterable(calls.request_id for _, calls in self.frames)),
            self.asked,
            chain.from_iterable(calls.input_tokens for _, calls in self.frames),
            self.answered,
            chain.from_iterable(calls.output_tokens for _, calls in self.frames),
            strict=True,
        )
        lines = _template(circumstances, said.content_type[0]) * len(self.asked)
        return lines % tuple(chain.from_iterable(values))


def _is_usual(frame: _Frame) -> bool:
    """Whether all began in one second, and there is nothing more to tell of them."""
    _, calls = frame
    return not (
        (
            len(calls.began_at) > 1
            and max(calls.began_at) // _SECOND != min(calls.began_at) // _SECOND
        )
        or any(calls.request_metadata)
        or any(calls.cache_read_input_tokens)
        or any(calls.cache_write_input_tokens)
    )


def _are_as_delivered(config: LoggingConfig, bodies: Sequence[bytes]) -> bool:
    """Whether JSON that was understood is one line, with nothing that has to be taken out."""
    images = config.image_data_delivery_enabled is not False
    text = b"".join(bodies)
    return (
        max(map(len, bodies)) <= INLINE_BYTES
        and text.isascii()
        and text.find(b"\n") < 0
        and text.find(b"\r") < 0
        and not may_have_media(text, images=images)
    )


@lru_cache(maxsize=1_024)
def _template(encoded: bytes, content_type: str) -> bytes:
    """For `%`: what differs are the time, the id, and each body with its tokens."""
    told = Told(
        config=LoggingConfig(),
        at=0,
        request_id=BLANK_TEXT,
        request_metadata=None,
        input_content_type=content_type,
        input_body=BLANK,
        output_body=BLANK,
        input_tokens=BLANK,
        output_tokens=BLANK,
        cache_read_input_tokens=None,
        cache_write_input_tokens=None,
        **_constant(_circumstances(encoded)),
    )
    parts = form(log_record(told, BLANK_TEXT, Body(BLANK), Body(BLANK)))
    escaped = (part.replace(b"%", b"%%") for part in parts)
    return b"".join(chain.from_iterable(zip(escaped, _BLANKS, strict=True)))


@lru_cache(maxsize=1_024)
def _circumstances(encoded: bytes) -> Circumstances:
    return decode_circumstances(encoded)


def _constant(shared: Circumstances) -> Mapping[str, Any]:
    """Members of `Told`."""
    return {
        "account_id": shared.account_id,
        "region": shared.region,
        "operation": shared.operation,
        "model_id": shared.model_id,
        "principal_arn": shared.principal_arn,
        "inference_region": shared.inference_region,
        "error": shared.error,
    }


def _told(
    owner: Owner,
    encoded: bytes,
    call: Call,
    content_type: str,
    asked: bytes | None,
    answered: bytes | None,
) -> Told:
    return Told(
        config=owner.config,
        at=call.began_at,
        request_id=call.request_id,
        request_metadata=call.request_metadata,
        input_content_type=content_type,
        input_body=asked,
        output_body=answered,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cache_read_input_tokens=call.cache_read_input_tokens or None,
        cache_write_input_tokens=call.cache_write_input_tokens or None,
        **_constant(_circumstances(encoded)),
    )


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


def _record(told: Told, large: S3Config | None) -> tuple[bytes, list[Delivered]]:
    """The line of one record, and what it refers to."""
    objects: list[Delivered] = []
    asked = _body(told, "input", told.input_body, large, objects)
    answered = _body(told, "output", told.output_body, large, objects)
    record = log_record(told, _timestamp(told.at // _SECOND), asked, answered)
    return json.encode(record) + b"\n", objects


def _body(
    told: Told,
    side: Literal["input", "output"],
    body: bytes | None,
    large: S3Config | None,
    objects: list[Delivered],
) -> Body:
    if body is None:
        return Body()
    name, uri = "", None
    if large:
        folder = _folder(large, told.account_id, told.region, told.at // _HOUR)
        name = f"{folder}/data/{told.request_id}_{side}"
        uri = f"s3://{large.bucket_name}/{name}"
    line, media = extracted(one_line(body), told.config, uri)
    if large:
        objects += [_medium(told, large, f"{name}{medium.suffix}", medium) for medium in media]
    if len(line) <= INLINE_BYTES:
        return Body(json=Raw(line))
    if large is None:
        return Body()
    objects.append(
        Delivered(
            place=bucket_of(large),
            account_id=told.account_id,
            region=told.region,
            key=f"{name}.json.gz",
            body=_gzipped(line),
            large=True,
            content_encoding="gzip",
        )
    )
    return Body(s3_path=f"{uri}.json.gz")


def _medium(told: Told, large: S3Config, key: str, medium: Media) -> Delivered:
    return Delivered(
        place=bucket_of(large),
        account_id=told.account_id,
        region=told.region,
        key=key,
        body=medium.data,
        large=True,
        content_type="application/octet-stream",
    )


def _gzipped(body: bytes) -> bytes:
    return igzip.compress(body, COMPRESSION, mtime=0)  # pyright: ignore[reportUnknownMemberType]
