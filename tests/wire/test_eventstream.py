"""Frames survive any chunking; damage is noticed wherever it is."""

from collections.abc import AsyncIterator
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from msgspec import json

from outcrop.wire import eventstream
from outcrop.wire.errors import (
    AccessDeniedException,
    ModelStreamErrorException,
    ThrottlingException,
)
from outcrop.wire.eventstream import CorruptFrameError, Frame, FrameReader
from outcrop.wire.shapes.bedrock_runtime import (
    CONVERSE_STREAM,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    MessageStartEvent,
)

EVENT = {
    ":event-type": "contentBlockDelta",
    ":content-type": "application/json",
    ":message-type": "event",
}


def test_a_frame_is_read_as_it_was_written() -> None:
    frame = eventstream.encode_event("contentBlockDelta", b'{"a":1}')

    assert list(FrameReader().feed(frame)) == [Frame(EVENT, b'{"a":1}')]


def test_botocore_reads_the_same_frame() -> None:
    buffer = EventStreamBuffer()

    buffer.add_data(eventstream.encode_event("contentBlockDelta", b'{"a":1}'))

    (message,) = buffer
    assert message.headers == EVENT
    assert message.payload == b'{"a":1}'


def test_the_reader_survives_any_chunking() -> None:
    frames = [eventstream.encode_event("one", b"{}"), eventstream.encode_event("two", b'{"b":2}')]
    stream = b"".join(frames)
    whole = list(FrameReader().feed(stream))

    for cut in range(len(stream)):
        reader = FrameReader()
        assert [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])] == whole

    reader = FrameReader()
    assert [
        frame for at in range(len(stream)) for frame in reader.feed(stream[at : at + 1])
    ] == whole


def test_damage_to_any_byte_is_noticed() -> None:
    frame = eventstream.encode_event("contentBlockDelta", b'{"text":"hello"}')

    for at in range(len(frame)):
        damaged = frame[:at] + bytes([frame[at] ^ 0x40]) + frame[at + 1 :]
        with pytest.raises(CorruptFrameError):
            list(FrameReader().feed(damaged))


def with_checksums(total: int, head: bytes, payload: bytes) -> bytes:
    prelude = total.to_bytes(4) + len(head).to_bytes(4)
    body = prelude + crc32(prelude).to_bytes(4) + head + payload
    return body + crc32(body).to_bytes(4)


@pytest.mark.parametrize(
    "head",
    [
        b"\x01a",
        b"\x01a\x07",
        b"\x01a\x07\x00\x09short",
        b"\x01a\x03\x00\x00",
        b"\x01\xff\x07\x00\x01a",
        b"\xff",
    ],
)
def test_headers_that_cannot_be_read_are_refused(head: bytes) -> None:
    with pytest.raises(CorruptFrameError):
        list(FrameReader().feed(with_checksums(16 + len(head), head, b"")))


@pytest.mark.parametrize("total", [0, 15, 17, 2**31])
def test_impossible_lengths_are_refused_at_once(total: int) -> None:
    with pytest.raises(CorruptFrameError):
        list(FrameReader().feed(with_checksums(total, b"\x01a", b"")))


@pytest.mark.parametrize("length", [0, 1, 26, 62, 63, 200])
def test_padding_is_a_member_of_the_length_asked_for(length: int) -> None:
    padded = json.decode(eventstream.padded(b'{"a":1}', length))
    alone = json.decode(eventstream.padded(b"{}", length))

    assert padded == ({"a": 1, "p": alone["p"]} if length else {"a": 1})
    assert len(alone.get("p", "")) == length
    assert not length or alone["p"].startswith("abcdefghijklmnopqrstuvwxyz"[:length])


def test_an_event_carries_its_name_and_its_bare_value() -> None:
    event = ContentBlockDeltaEvent(delta=ContentBlockDelta(text="Hi"), content_block_index=0)

    (frame,) = FrameReader().feed(CONVERSE_STREAM.encode_event(event, padding=3))

    assert frame.headers == EVENT
    assert frame.payload == b'{"delta":{"text":"Hi"},"contentBlockIndex":0,"p":"abc"}'


def test_an_event_without_padding_is_just_its_value() -> None:
    (frame,) = FrameReader().feed(CONVERSE_STREAM.encode_event(MessageStartEvent(role="user")))

    assert frame.payload == b'{"role":"user"}'


def test_a_modelled_exception_is_an_exception_frame() -> None:
    error = ModelStreamErrorException("broken", originalStatusCode=500, originalMessage="oh")

    (frame,) = FrameReader().feed(CONVERSE_STREAM.encode_exception(error))

    assert frame.headers[":message-type"] == "exception"
    assert frame.headers[":exception-type"] == "modelStreamErrorException"
    assert json.decode(frame.payload) == {
        "message": "broken",
        "originalStatusCode": 500,
        "originalMessage": "oh",
    }


def test_every_exception_of_the_model_has_its_type() -> None:
    (frame,) = FrameReader().feed(CONVERSE_STREAM.encode_exception(ThrottlingException("slow")))

    assert frame.headers[":exception-type"] == "throttlingException"


def test_an_error_the_stream_does_not_model_is_an_error_frame() -> None:
    (frame,) = FrameReader().feed(CONVERSE_STREAM.encode_exception(AccessDeniedException("no é")))

    assert frame.headers == {
        ":message-type": "error",
        ":error-code": "AccessDeniedException",
        ":error-message": "no é",
    }


class NoFrames:
    async def _frames(self) -> AsyncIterator[bytes]:
        return
        yield

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._frames()

    async def aclose(self) -> None:
        pass


def test_a_stream_says_what_it_is() -> None:
    frames = NoFrames()

    response = CONVERSE_STREAM.encode(frames)

    assert response.status == 200
    assert response.headers == {"content-type": "application/vnd.amazon.eventstream"}
    assert response.body is frames
