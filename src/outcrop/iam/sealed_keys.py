"""Access keys as the database keeps them: the secrets sealed."""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from outcrop.iam.sealing import KEY_BYTES, Sealer, SealError
from outcrop.store.records import AccessKeyRecord

_SEALED = "sealed:"
_NOT_OURS = (
    " The database was written with another sealing key: copy the file `sealing-keys` of the state"
    " folder that it was first used with, or give its keys in OUTCROP_SEALING_KEYS."
)


class Rows(Protocol):
    async def find(self, access_key_id: str) -> AccessKeyRecord | None: ...
    async def sealed_otherwise(self, beginning: str) -> list[AccessKeyRecord]: ...
    async def ensure_root(
        self, *, account_id: str, access_key_id: str, secret_access_key: str, created_at: datetime
    ) -> AccessKeyRecord: ...
    async def add(self, key: AccessKeyRecord, *, most: int) -> None: ...
    async def replace_secrets(self, secrets: Mapping[str, str]) -> None: ...


class Secrets(Protocol):
    async def adopt(self, name: str, make: Callable[[], bytes]) -> bytes: ...
    async def replace(self, name: str, secret: bytes) -> None: ...


async def shared_key(secrets: Secrets, sealer: Sealer, name: str) -> bytes:
    """A random key that all servers on one database share, sealed there. Raises SealError."""
    sealed = await secrets.adopt(name, lambda: sealer.seal(os.urandom(KEY_BYTES), name=name))
    try:
        if not sealer.is_current(sealed):
            await secrets.replace(name, sealer.resealed(sealed))
        return sealer.open(sealed, name=name)
    except SealError as error:
        raise SealError(f"The key of {name}: {error}{_NOT_OURS}") from error


class SealedKeys:
    """What goes in is sealed, what comes out is open. All of these raise SealError."""

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._sealer = sealer

    async def find(self, access_key_id: str) -> AccessKeyRecord | None:
        key = await self._rows.find(access_key_id)
        return None if key is None else self.opened(key)

    async def ensure_root(
        self, *, account_id: str, access_key_id: str, secret_access_key: str, created_at: datetime
    ) -> AccessKeyRecord:
        return self.opened(
            await self._rows.ensure_root(
                account_id=account_id,
                access_key_id=access_key_id,
                secret_access_key=self.sealed(access_key_id, secret_access_key),
                created_at=created_at,
            )
        )

    async def add(self, key: AccessKeyRecord, *, most: int) -> None:
        """Raises QuotaReachedError when its owner has as many already."""
        await self._rows.add(self.closed(key), most=most)

    async def reseal(self) -> int:
        """Seals what an older version left open or an older key has sealed; gives their number."""
        others = await self._rows.sealed_otherwise(_text(self._sealer.head))
        changed = {key.access_key_id: self._resealed(key) for key in others}
        if changed:
            await self._rows.replace_secrets(changed)
        return len(changed)

    def opened(self, key: AccessKeyRecord) -> AccessKeyRecord:
        """As `find` gives it, of one as its row has it."""
        sealed = _bytes(key.secret_access_key)
        if sealed is None:
            return key
        try:
            secret = self._sealer.open(sealed, name=_name(key.access_key_id))
        except SealError as error:
            raise SealError(f"{key.access_key_id}: {error}{_NOT_OURS}") from error
        return replace(key, secret_access_key=secret.decode())

    def closed(self, key: AccessKeyRecord) -> AccessKeyRecord:
        """As its row has it."""
        secret = self.sealed(key.access_key_id, key.secret_access_key)
        return replace(key, secret_access_key=secret)

    def _resealed(self, key: AccessKeyRecord) -> str:
        sealed = _bytes(key.secret_access_key)
        if sealed is None:
            return self.sealed(key.access_key_id, key.secret_access_key)
        try:
            return _text(self._sealer.resealed(sealed))
        except SealError as error:
            raise SealError(f"{key.access_key_id}: {error}{_NOT_OURS}") from error

    def sealed(self, access_key_id: str, secret: str) -> str:
        """As the row of a key has its secret."""
        return _text(self._sealer.seal(secret.encode(), name=_name(access_key_id)))


def _name(access_key_id: str) -> str:
    return f"access key {access_key_id}"


def _text(sealed: bytes) -> str:
    return _SEALED + b64encode(sealed).decode()


def _bytes(text: str) -> bytes | None:
    """None of a secret that an older version left open."""
    return b64decode(text.removeprefix(_SEALED)) if text.startswith(_SEALED) else None
