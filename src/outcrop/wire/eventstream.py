"""Frames of application/vnd.amazon.eventstream: a prelude, headers, a payload, two checksums."""

from collections.abc import Iterator, Mapping
from struct import Struct as Layout
from zlib import crc32

from msgspec import Struct

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = Layout("!II")
_CHECKSUM = Layout("!I")
_PRELUDE_LENGTH = _PRELUDE.size + _CHECKSUM.size
_SMALLEST = _PRELUDE_LENGTH + _CHECKSUM.size
_LARGEST = 24 * 1024 * 1024
_STRING = 7
_PADDING = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Frame(Struct, frozen=True):
    headers: dict[str, str]
    payload: bytes


class CorruptFrameError(Exception):
    """The bytes are no event stream, or were damaged on the way."""


def encode_event(event_type: str, payload: bytes) -> bytes:
    return encode_frame(
        {
            ":event-type": event_type,
            ":content-type": "application/json",
            ":message-type": "event",
        },
        payload,
    )


def encode_exception(exception_type: str, payload: bytes) -> bytes:
    return encode_frame(
        {
            ":exception-type": exception_type,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        payload,
    )


def encode_error(code: str, message: str) -> bytes:
    """A failure the stream's model does not list. A header holds 65,535 bytes, so no novels."""
    return encode_frame(
        {":error-code": code, ":error-message": message[:8000], ":message-type": "error"}, b""
    )


def padded(payload: bytes, length: int) -> bytes:
    """`payload`, a JSON object, with a member `p` of `length` characters, as Amazon sends it."""
    if not length:
        return payload
    comma = b"" if payload == b"{}" else b","
    padding = (_PADDING * (length // len(_PADDING) + 1))[:length]
    return b'%s%s"p":"%s"}' % (payload[:-1], comma, padding)


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    head = b"".join(_encode_header(name, value) for name, value in headers.items())
    prelude = _PRELUDE.pack(_SMALLEST + len(head) + len(payload), len(head))
    frame = b"".join((prelude, _CHECKSUM.pack(crc32(prelude)), head, payload))
    return frame + _CHECKSUM.pack(crc32(frame))


def _encode_header(name: str, value: str) -> bytes:
    name_bytes, value_bytes = name.encode(), value.encode()
    return b"%c%s%c%s%s" % (
        len(name_bytes),
        name_bytes,
        _STRING,
        len(value_bytes).to_bytes(2),
        value_bytes,
    )


class FrameReader:
    """Splits a byte stream into frames, however it was chunked."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Raises CorruptFrameError; what was left of the stream is then of no use."""
        self._rest += chunk
        while len(self._rest) >= _PRELUDE_LENGTH:
            total, head_length = _read_prelude(self._rest)
            if len(self._rest) < total:
                return
            frame = bytes(self._rest[:total])
            del self._rest[:total]
            yield _read_frame(frame, head_length)


def _read_prelude(data: bytearray) -> tuple[int, int]:
    total, head_length = _PRELUDE.unpack_from(data)
    _verify(data[: _PRELUDE.size], data[_PRELUDE.size : _PRELUDE_LENGTH], "prelude")
    if not _SMALLEST + head_length <= total <= _LARGEST:
        raise CorruptFrameError(f"a frame of {total} bytes, {head_length} of them headers")
    return total, head_length


def _verify(data: bytes | bytearray, checksum: bytes | bytearray, part: str) -> None:
    if _CHECKSUM.pack(crc32(data)) != checksum:
        raise CorruptFrameError(f"the checksum of the {part} does not match")


def _read_frame(frame: bytes, head_length: int) -> Frame:
    _verify(frame[:-4], frame[-4:], "message")
    head_end = _PRELUDE_LENGTH + head_length
    head = frame[_PRELUDE_LENGTH:head_end]
    try:
        return Frame(headers=dict(_read_headers(head)), payload=frame[head_end:-4])
    except (IndexError, UnicodeDecodeError) as error:
        raise CorruptFrameError("the headers cannot be read") from error


def _read_headers(head: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(head):
        name_end = at + 1 + head[at]
        if head[name_end] != _STRING:
            raise CorruptFrameError(f"a header of type {head[name_end]}, not a string")
        value_start = name_end + 3
        value_end = value_start + int.from_bytes(head[name_end + 1 : value_start])
        if value_end > len(head):
            raise CorruptFrameError("a header is cut short")
        yield head[at + 1 : name_end].decode(), head[value_start:value_end].decode()
        at = value_end
