"""What is kept of one invocation: who asked whom for what, what was used, and what it cost."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from isal.isal_zlib import crc32  # pyright: ignore[reportUnknownVariableType]
from msgspec import DecodeError, Struct, msgpack, structs

Outcome = Literal["success", "client_error", "throttle", "server_error", "cancelled"]
"""`cancelled`: the client left before its answer was complete."""

PICO_DOLLARS = 10**12
"""Of one US dollar. Money is kept in whole ones of them: sums are exact."""


class Circumstances(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What many invocations have in common: kept once for all of a batch.

    New fields come last, with a default: older journals are read for ever. So in `Call`.
    """

    operation: str
    account_id: str
    principal_arn: str
    region: str
    """The source Region: the one the request was signed for."""
    inference_region: str | None
    """Where it was served, if known."""
    model_id: str | None
    """As the caller wrote it; None when the request could not be read that far."""
    foundation_model_id: str | None
    inference_profile_arn: str | None
    provisioned_model_arn: str | None
    tags: tuple[tuple[str, str], ...]
    """Of the application profile, or the provisioned model, when the call began."""
    streamed: bool
    outcome: Outcome
    status: int
    """As HTTP has it; of a stream that broke, the exception's."""
    error: str | None
    service_tier: str | None
    resolved_service_tier: str | None
    rates: tuple[int, int, int, int] | None
    """Pico-dollars for a token: input, output, cache read, cache write. None: no price is known."""
    spilled_over: bool = False
    """Whether its model units were used up, and it went on as an on-demand call."""
    units_per_minute: tuple[int, int] | None = None
    """Tokens, in and out, that the provisioned model's units were good for; None: unknown."""

    @property
    def metric_model_id(self) -> str | None:
        """CloudWatch's dimension ModelId; None while nobody knows which model was meant."""
        if self.foundation_model_id is None:
            return None
        if self.provisioned_model_arn is not None:
            return self.provisioned_model_arn
        if self.inference_profile_arn is not None:
            return self.inference_profile_arn.rpartition("/")[2]
        return self.foundation_model_id


class Call(NamedTuple):
    """What one invocation has of its own."""

    request_id: str
    began_at: int
    """Microseconds since 1970."""
    first_event_us: int | None
    """From the beginning to the first event of the model's answer."""
    duration_us: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    estimated: bool
    """Whether the tokens are our estimate: the answer broke off before the server counted."""
    request_metadata: Mapping[str, str] | None


Row: TypeAlias = tuple[
    str, int, int | None, int, int, int, int, int, bool, Mapping[str, str] | None
]
"""A `Call`, made in a sixth of the time."""


class Calls(Struct, frozen=True, array_like=True):
    """Calls in the same circumstances, in columns: those of `Call`, which say more."""

    circumstances: bytes
    """Encoded by themselves, so that they need not be decoded to be told apart."""
    request_id: Sequence[str]
    began_at: Sequence[int]
    first_event_us: Sequence[int | None]
    duration_us: Sequence[int]
    input_tokens: Sequence[int]
    output_tokens: Sequence[int]
    cache_read_input_tokens: Sequence[int]
    cache_write_input_tokens: Sequence[int]
    estimated: Sequence[bool]
    request_metadata: Sequence[Mapping[str, str] | None]

    @property
    def rows(self) -> Iterator[Row]:
        return zip(
            self.request_id,
            self.began_at,
            self.first_event_us,
            self.duration_us,
            self.input_tokens,
            self.output_tokens,
            self.cache_read_input_tokens,
            self.cache_write_input_tokens,
            self.estimated,
            self.request_metadata,
            strict=True,
        )


class UsageRecord(Circumstances, frozen=True, kw_only=True, gc=False):
    """One invocation, all of it: as in `Circumstances` and in `Call`."""

    request_id: str
    began_at: int
    first_event_us: int | None
    duration_us: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    estimated: bool
    request_metadata: Mapping[str, str] | None

    @property
    def cost(self) -> int:
        """Pico-dollars."""
        read, written = self.cache_read_input_tokens, self.cache_write_input_tokens
        return cost_of((self.input_tokens, self.output_tokens, read, written), self.rates)


def in_columns(circumstances: bytes, calls: Sequence[Row]) -> Calls:
    """Of one call at least."""
    return Calls(circumstances, *zip(*calls, strict=True))


# A frame: the length and CRC-32 of what follows, little-endian. What follows: `Calls`, or, as it
# was before there were columns and is read for ever, circumstances and a list of calls.
_HEAD = struct.Struct("<II")
_CALLS, _CALLS_IN_A_LIST = 0x9B, 0x92
"""The first byte of the former, eleven members, and of the latter, two."""
_USAGE = frozenset({_CALLS, _CALLS_IN_A_LIST})
_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Calls).decode
_decode_list = msgpack.Decoder(tuple[bytes, list[Call]]).decode
_decode_circumstances = msgpack.Decoder(Circumstances).decode


def encode_circumstances(circumstances: Circumstances) -> bytes:
    return _encode(circumstances)


def batch(circumstances: bytes, calls: Sequence[Row]) -> bytes:
    """What is in the frame of one call at least."""
    # Rows are as long as their type says: to look takes a fifth of it.
    return _encode([circumstances, *zip(*calls)])  # noqa: B905


def framed(record: UsageRecord) -> bytes:
    """A batch of one."""
    shared = {name: getattr(record, name) for name in Circumstances.__struct_fields__}
    own = {name: getattr(record, name) for name in Call._fields}
    return frame(batch(_encode(Circumstances(**shared)), [Call(**own)]))


def frame(payload: bytes) -> bytes:
    return _HEAD.pack(len(payload), crc32(payload)) + payload


class Found(NamedTuple):
    """What a part of a journal begins with."""

    whole: int
    """How many of the bytes, from the first, are whole and undamaged frames."""
    usage: bytes
    """Those frames of them that hold usage."""

    @property
    def has_more(self) -> bool:
        """Whether there are frames of another kind among them."""
        return len(self.usage) < self.whole


def whole_frames(data: bytes) -> int:
    """How many of the bytes, from the first, are whole and undamaged frames."""
    whole = 0
    for _, whole in _whole(data):  # noqa: B007 - the last of them
        pass
    return whole


def found_in(data: bytes) -> Found:
    """Of a journal, from the beginning of a frame on."""
    whole, view = 0, memoryview(data)
    usage: list[memoryview] = []
    for begin, whole in _whole(data):
        if data[begin + _HEAD.size] in _USAGE:
            usage.append(view[begin:whole])
    return Found(whole, b"".join(usage))


def _whole(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each whole and undamaged frame begins and ends."""
    head, unpack, view = _HEAD.size, _HEAD.unpack_from, memoryview(data)
    position, last = 0, len(data) - head
    while position <= last:
        length, checksum = unpack(data, position)
        end = position + head + length
        if not length or end > len(data) or crc32(view[position + head : end]) != checksum:
            return
        yield position, end
        position = end


def is_usage(payload: memoryview) -> bool:
    return payload[0] in _USAGE


def batches_in(frames: bytes) -> Iterator[Calls]:
    """Raises ValueError for what is none of ours."""
    return map(calls_of, filter(is_usage, payloads_in(frames)))


def calls_of(payload: memoryview | bytes) -> Calls:
    """Of one frame. Raises ValueError for what is none of ours."""
    try:
        if payload[0] == _CALLS_IN_A_LIST:
            circumstances, calls = _decode_list(payload)
            return in_columns(circumstances, calls)
        return _decode(payload)
    except DecodeError as error:
        raise ValueError(f"not a usage record: {error}") from error


def decode_circumstances(encoded: bytes) -> Circumstances:
    """Raises ValueError for what is none of ours."""
    try:
        return _decode_circumstances(encoded)
    except DecodeError as error:
        raise ValueError(f"not a usage record: {error}") from error


def records_in(frames: bytes) -> Iterator[UsageRecord]:
    """Of whole frames. Raises ValueError for what is none of ours."""
    for calls in batches_in(frames):
        shared = structs.asdict(decode_circumstances(calls.circumstances))
        for row in calls.rows:
            yield UsageRecord(**shared, **Call(*row)._asdict())


def ended_at(record: UsageRecord) -> int:
    """In microseconds since 1970."""
    return record.began_at + record.duration_us


def payloads_in(frames: bytes) -> Iterator[memoryview]:
    """Of whole frames."""
    view, position = memoryview(frames), 0
    while position < len(frames):
        length, _ = _HEAD.unpack_from(frames, position)
        position += _HEAD.size + length
        yield view[position - length : position]


def cost_of(tokens: Sequence[int], rates: Sequence[int] | None) -> int:
    """Pico-dollars."""
    return 0 if rates is None else sum(map(int.__mul__, tokens, rates))
