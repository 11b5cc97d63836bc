"""Refusals from before it is known what was asked for, and ids for requests."""

from random import Random

from outcrop.wire.addresses import REST_JSON
from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpResponse

_random_bits = Random().getrandbits  # noqa: S311 - ids must differ, not be secret
_MIDDLE = f"-{_random_bits(16):04x}-4{_random_bits(12):03x}-a{_random_bits(12):03x}-"


def new_request_id() -> str:
    """A UUID (version 4), random at both ends: 80 bits of it. The others are this process's."""
    digits = _random_bits(80).to_bytes(10, "big").hex()  # spelt twice as fast as by a format
    return f"{digits[:8]}{_MIDDLE}{digits[8:]}"


def error_response(error: AwsError, request_id: str) -> HttpResponse:
    return REST_JSON.refusal(error, request_id)
