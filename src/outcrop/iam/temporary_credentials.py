"""Temporary credentials: their session token says all there is to say, sealed.

No table holds them: whoever has the installation's key can read a token, and nobody else can make
one. What the role or user may do is looked up as ever.
"""

import os
import secrets
import zlib
from base64 import b32encode, b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

_FORMAT = b"\x01"
_NONCE_BYTES = 12
LONGEST_TOKEN = 65_536
KEY_BYTES = 32


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    kind: Literal["role", "user", "root"]
    account_id: str
    name: str
    """Of the role or user; empty for the root user."""
    identity_id: str
    """`AROA…`, `AIDA…`: a later role of the same name is another one."""
    access_key_id: str
    secret_access_key: str
    issued_at: datetime
    expires_at: datetime
    session_name: str = ""
    policies: tuple[str, ...] = ()
    """Documents."""
    managed: tuple[str, ...] = ()
    """Names of managed policies that are session policies here."""
    tags: Mapping[str, str] = {}
    transitive: tuple[str, ...] = ()
    """Keys of the tags that go on to the roles assumed from here."""
    source_identity: str | None = None
    federated_provider: str | None = None

    @property
    def assumed(self) -> str:
        """`App/worker`."""
        return f"{self.name}/{self.session_name}"

    def __repr__(self) -> str:
        return f"Session({self.access_key_id!r} of {self.name!r})"


class TemporaryCredentials:
    """Writes and reads session tokens."""

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)

    def token(self, session: Session) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        plain = zlib.compress(msgspec.msgpack.encode(session))
        return b64encode(_FORMAT + nonce + self._key.encrypt(nonce, plain, _FORMAT)).decode()

    def session(self, token: str) -> Session | None:
        """None of a token that was not made here, or was changed since."""
        if len(token) > LONGEST_TOKEN:
            return None
        try:
            sealed = b64decode(token, validate=True)
        except (BinasciiError, ValueError):
            return None
        nonce = sealed[1 : 1 + _NONCE_BYTES]
        if not sealed.startswith(_FORMAT) or len(nonce) < _NONCE_BYTES:
            return None
        try:
            plain = self._key.decrypt(nonce, sealed[1 + _NONCE_BYTES :], _FORMAT)
        except InvalidTag:
            return None
        return msgspec.msgpack.decode(zlib.decompress(plain), type=Session)


def new_access_key_id(prefix: str) -> str:
    """`AKIA…` of a long-term key, `ASIA…` of a temporary one, `AIDA…`, `AROA…` of identities."""
    return prefix + b32encode(secrets.token_bytes(10)).decode()


def new_secret_access_key() -> str:
    return b64encode(secrets.token_bytes(30)).decode()
