"""A record of the invocation log: as it waits on disk, and a line in Amazon's schema 1.0. Pure."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import DecodeError, Raw, Struct, json

from outcrop.wire.shapes.bedrock import LoggingConfig

INLINE_BYTES = 100 * 1024
"""A longer body is an object of its own."""
JSON = "application/json"
LINES = 0x93
"""The first byte of `SpooledLines` in MessagePack: three members. `SpooledRecord` has more."""


class Owner(Struct, frozen=True, array_like=True):
    """Whose records, and where they go."""

    config: LoggingConfig
    """The account's, when the calls began."""
    account_id: str
    region: str


class SpooledLines(Struct, frozen=True, array_like=True):
    """Records as they will be delivered: nothing has to be taken out of what was said."""

    owner: bytes
    """An `Owner`, encoded."""
    hour: str
    """In which the calls began: `2026-11-22T10`, in UTC."""
    lines: bytes


class SpooledRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """What one record is made of. New fields come last, with a default."""

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
    """None: not to be delivered, as the account's switches say; so is the output's."""
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


def log_record(spooled: SpooledRecord, timestamp: str, asked: Body, answered: Body) -> LogRecord:
    """`asked` and `answered` are what became of the bodies."""
    failed = spooled.error is not None
    return LogRecord(
        timestamp=timestamp,
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


def one_line(body: bytes) -> bytes:
    """JSON without white space; what is not JSON, as refused requests may be, as a JSON string."""
    try:
        if not body.isascii():
            body.decode()
        return json.format(body, indent=-1)
    except (DecodeError, UnicodeDecodeError):
        return json.encode(body.decode(errors="replace"))


def may_have_media(body: bytes) -> bool:
    """Whether images, documents, video or audio may have to be taken out of it."""
    # Not `in`, which for bytes looks for a number first and takes five times as long.
    return (
        body.find(b'"bytes"') >= 0
        or body.find(b'"base64"') >= 0
        or body.find(b"data:") >= 0
        or body.find(b'"inputImage"') >= 0
    )
