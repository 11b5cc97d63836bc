"""nextToken: where a listing goes on, sealed so that only the listing that gave it can use it."""

import base64
import binascii
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b
from hmac import compare_digest
from typing import Generic, Protocol, TypeVar

import msgspec

from outcrop.wire.errors import AwsError, ValidationException
from outcrop.wire.timestamps import Clock, to_micros

LIFETIME = timedelta(hours=24)
_MAC_BYTES = 16
_STAMP_BYTES = 8
# Amazon's text is in no public source.
_TEXT = "The provided nextToken is invalid or has expired. Repeat the request without it."

PositionT = TypeVar("PositionT")


class Asker(Protocol):
    """Whose listing it is."""

    @property
    def account_id(self) -> str: ...
    @property
    def region(self) -> str: ...


class PageTokens(Generic[PositionT]):
    """Seals the position of one operation's listing and opens it again.

    A token names its moment and its position in clear; what it belongs to (operation, account,
    Region, filters) is only in the authenticated data, so another listing's token does not open.
    """

    def __init__(
        self,
        operation: str,
        position_type: type[PositionT],
        *,
        key: bytes,
        clock: Clock,
        refusal: Callable[[str], AwsError] = ValidationException,
    ) -> None:
        self._operation = operation
        # Begun with the key: a copy of it costs less than to take the key in again.
        self._keyed = blake2b(digest_size=_MAC_BYTES, key=key)
        self._clock = clock
        self._refusal = refusal
        self._decoder = msgspec.json.Decoder(position_type)

    def seal(self, position: PositionT, caller: Asker, filters: object) -> str:
        stamp = to_micros(self._clock()).to_bytes(_STAMP_BYTES, "big")
        content = stamp + msgspec.json.encode(position)
        mac = self._mac(content, caller, filters)
        # The stamp in front: the AWS CLI takes a value that begins with `-` for an option.
        return base64.urlsafe_b64encode(content + mac).rstrip(b"=").decode()

    def open(self, token: str, caller: Asker, filters: object) -> PositionT:
        """Raises a `refusal` for a token that is forged, cut, foreign or expired."""
        sealed = _unarmoured(token)
        if sealed is None:
            raise self._refusal(_TEXT)
        content, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
        if not compare_digest(mac, self._mac(content, caller, filters)):
            raise self._refusal(_TEXT)
        age = to_micros(self._clock()) - int.from_bytes(content[:_STAMP_BYTES], "big")
        if age > LIFETIME // timedelta(microseconds=1):
            raise self._refusal(_TEXT)
        return self._decoder.decode(content[_STAMP_BYTES:])

    def _mac(self, content: bytes, caller: Asker, filters: object) -> bytes:
        belongs_to = msgspec.json.encode(
            (self._operation, caller.account_id, caller.region, filters, content)
        )
        keyed = self._keyed.copy()
        keyed.update(belongs_to)
        return keyed.digest()


def _unarmoured(token: str) -> bytes | None:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # base64 has spare bits at its end: only the one spelling that we gave opens.
    return sealed if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() == token else None
