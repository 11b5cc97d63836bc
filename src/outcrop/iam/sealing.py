"""Secrets as the database keeps them: sealed with a key that the database does not have.

Each secret has a data key of its own, and only that one is sealed with the installation's key. So
a new installation's key means new envelopes, and the secrets within stay as they are.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_FORMAT = b"\x01"
_ID_BYTES, _NONCE_BYTES, _TAG_BYTES = 8, 12, 16
_HEAD_BYTES = len(_FORMAT) + _ID_BYTES
_ENVELOPE_BYTES = _HEAD_BYTES + _NONCE_BYTES + KEY_BYTES + _TAG_BYTES


class SealError(Exception):
    """Says why a secret could not be had; never what is in it."""


class Sealer:
    """Seals with the first of its keys, and opens what any of them has sealed.

    `name` says whose the secret is: sealed for one name it opens for no other, so that rows of the
    database cannot be exchanged.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises SealError."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"A sealing key has {KEY_BYTES} bytes, and there has to be one.")
        self._current = _id_of(keys[0])
        self._keys: Mapping[bytes, AESGCM] = {_id_of(key): AESGCM(key) for key in keys}

    def seal(self, secret: bytes, *, name: str) -> bytes:
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        return self._envelope(data_key) + _encrypted(AESGCM(data_key), secret, name.encode())

    def open(self, sealed: bytes, *, name: str) -> bytes:
        """Raises SealError."""
        return _decrypted(AESGCM(self._data_key(sealed)), sealed[_ENVELOPE_BYTES:], name.encode())

    @property
    def head(self) -> bytes:
        """How begins what the first key sealed: nine bytes."""
        return _FORMAT + self._current

    def is_current(self, sealed: bytes) -> bool:
        """Whether the first key sealed it: else `resealed` is due."""
        return sealed.startswith(self.head)

    def resealed(self, sealed: bytes) -> bytes:
        """The same secret in a new envelope of the first key. Raises SealError."""
        return self._envelope(self._data_key(sealed)) + sealed[_ENVELOPE_BYTES:]

    def _envelope(self, data_key: bytes) -> bytes:
        return self.head + _encrypted(self._keys[self._current], data_key, self.head)

    def _data_key(self, sealed: bytes) -> bytes:
        head = sealed[:_HEAD_BYTES]
        if len(sealed) < _ENVELOPE_BYTES or not head.startswith(_FORMAT):
            raise SealError("What is stored is not a sealed secret.")
        key = self._keys.get(head[len(_FORMAT) :])
        if key is None:
            raise SealError("The secret was sealed with a key that this server was not given.")
        return _decrypted(key, sealed[_HEAD_BYTES:_ENVELOPE_BYTES], head)


def _id_of(key: bytes) -> bytes:
    """Tells keys apart and gives nothing of them away."""
    return hashlib.sha256(b"outcrop sealing key\0" + key).digest()[:_ID_BYTES]


def _encrypted(key: AESGCM, plain: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plain, associated)


def _decrypted(key: AESGCM, encrypted: bytes, associated: bytes) -> bytes:
    try:
        return key.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise SealError("The sealed secret was changed, or belongs to another name.") from error
