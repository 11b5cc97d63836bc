"""What the invocation log is made of: what was said, on disk, and lines of schema 1.0. Pure."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from msgspec import DecodeError, Raw, Struct, json, msgpack

from outcrop.store.usage_records import frame
from outcrop.wire.shapes.bedrock import LoggingConfig

INLINE_BYTES = 100 * 1024
"""A longer body is an object of its own."""
JSON = "application/json"


class Owner(Struct, frozen=True, array_like=True):
    """Whose records, and where they go."""

    config: LoggingConfig
    """The account's, when the calls began."""
    account_id: str
    region: str


SaidRow: TypeAlias = tuple[str, bytes | None, bytes | None]
"""Of one call: the content type of what was asked, what was asked, and what was answered."""


class Said(Struct, frozen=True, array_like=True):
    """What was said in calls, in columns. In a journal it follows their frame of usage."""

    owner: bytes
    """An `Owner`, encoded."""
    calls: bytes
    """What would be in the frame before, where usage is not metered; empty where it is."""
    content_type: Sequence[str]
    asked: Sequence[bytes | None]
    """None: not to be delivered, as the account's switches say; so is what was answered."""
    answered: Sequence[bytes | None]


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Said).decode
_decode_owner = msgpack.Decoder(Owner).decode


def encode_owner(owner: Owner) -> bytes:
    return _encode(owner)


@lru_cache(maxsize=256)
def decode_owner(encoded: bytes) -> Owner:
    """Raises DecodeError, a ValueError."""
    return _decode_owner(encoded)


def said_frame(owner: bytes, calls: bytes, said: Sequence[SaidRow]) -> bytes:
    """Of one call at least."""
    return frame(_encode([owner, calls, *zip(*said)]))  # noqa: B905 - as in `batch`


def decode_said(payload: memoryview) -> Said:
    """Raises DecodeError, a ValueError."""
    return _decode(payload)


class Told(Struct, frozen=True, kw_only=True):
    """What one record is made of."""

    config: LoggingConfig
    """The account's, when the call began."""
    at: int
    """When the call began, in microseconds since 1970."""
    account_id: str
    region: str
    request_id: str
    operation: str
    model_id: str | None
    principal_arn: str
    request_metadata: Mapping[str, str] | None
    inference_region: str | None
    error: str | None
    input_content_type: str
    input_body: bytes | None
    """As in `Said`; so is the output's."""
    output_body: bytes | None
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None


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


class Body(NamedTuple):
    """In the record, or by itself, or neither."""

    json: Raw | None = None
    s3_path: str | None = None


def log_record(told: Told, timestamp: str, asked: Body, answered: Body) -> LogRecord:
    """`asked` and `answered` are what became of the bodies."""
    failed = told.error is not None
    return LogRecord(
        timestamp=timestamp,
        account_id=told.account_id,
        region=told.region,
        request_id=told.request_id,
        operation=told.operation,
        model_id=told.model_id,
        error_code=told.error,
        input=LogInput()
        if failed and told.input_body is None
        else LogInput(
            input_content_type=told.input_content_type,
            input_body_json=asked.json,
            input_body_s3_path=asked.s3_path,
            input_token_count=told.input_tokens,
            cache_read_input_token_count=told.cache_read_input_tokens,
            cache_write_input_token_count=told.cache_write_input_tokens,
        ),
        output=LogOutput()
        if failed and told.output_body is None
        else LogOutput(
            output_content_type=JSON,
            output_body_json=answered.json,
            output_body_s3_path=answered.s3_path,
            output_token_count=told.output_tokens,
        ),
        identity=Identity(told.principal_arn),
        request_metadata=told.request_metadata,
        inference_region=told.inference_region,
        schema_type="ModelInvocationLog",
        schema_version="1.0",
    )


def one_line(body: bytes) -> bytes:
    """JSON without white space; what is not JSON, as refused requests may be, as a JSON string."""
    try:
        if not body.isascii():
            body.decode()
        return json.format(body, indent=-1)
    except (DecodeError, UnicodeDecodeError):
        return json.encode(body.decode(errors="replace"))


def may_have_media(body: bytes, *, images: bool) -> bool:
    """Whether images, documents, video or audio may have to be taken out of it.

    Those that are in native bodies stay there if `images` are wanted.
    """
    # Not `in`, which for bytes looks for a number first and takes five times as long.
    return body.find(b'"bytes"') >= 0 or (
        not images
        and (
            body.find(b'"base64"') >= 0
            or body.find(b"data:") >= 0
            or body.find(b'"inputImage"') >= 0
            or body.find(b'"images"') >= 0
        )
    )
