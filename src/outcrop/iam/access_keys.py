"""The root access key: made at first start, and kept beside the state for its owner alone."""

import os
import re
import secrets
from base64 import b32encode, b64encode
from collections.abc import Iterator, Mapping
from configparser import ConfigParser, Error as ConfigParserError
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from outcrop.store.records import AccessKeyRecord
from outcrop.wire.timestamps import Clock

FILE_NAME = "credentials"
_PROFILE = "default"
_FIELDS = {
    "access_key_id": ("aws_access_key_id", re.compile(r"[A-Za-z0-9_]{16,128}")),
    "secret_access_key": ("aws_secret_access_key", re.compile(r"[!-~]{16,128}")),
    "account_id": ("aws_account_id", re.compile(r"[0-9]{12}")),
}


class RootAccessKey(Struct, frozen=True, kw_only=True):
    account_id: str
    access_key_id: str
    secret_access_key: str

    def __repr__(self) -> str:
        return f"RootAccessKey({self.access_key_id!r} of {self.account_id!r})"


class RootAccessKeyError(Exception):
    """Says what is wrong with the file and how to mend it; never what is in it."""


class AccessKeys(Protocol):
    async def ensure_root(
        self,
        *,
        account_id: str,
        access_key_id: str,
        secret_access_key: str,
        created_at: datetime,
    ) -> AccessKeyRecord:
        """Stores account and key if there is no account yet, and gives the one in place.

        One transaction: of two servers that start at once on one database, one stores its own
        and both are given the same.
        """
        ...


async def ensure_root_access_key(keys: AccessKeys, state_dir: Path, clock: Clock) -> RootAccessKey:
    """The installation's root access key, made or adopted if need be, and in the state folder.

    The database decides. A new database adopts the key that the state folder has, so that exported
    credentials live on; a new state folder is given the database's. Where both have one and they
    differ, nothing is changed: adopting the file's could bring back a key that was taken away.
    """
    filed = _read_if_there(state_dir)
    wanted = filed or new_root_access_key()
    stored = await keys.ensure_root(
        account_id=wanted.account_id,
        access_key_id=wanted.access_key_id,
        secret_access_key=wanted.secret_access_key,
        created_at=clock(),
    )
    in_place = RootAccessKey(
        account_id=stored.account_id,
        access_key_id=stored.access_key_id,
        secret_access_key=stored.secret_access_key,
    )
    if filed is None:
        _write(state_dir, in_place)
    elif filed != in_place:
        path = state_dir / FILE_NAME
        raise RootAccessKeyError(
            f"{path} is not the root access key of this database."
            " Move it away: the next start writes the right one."
        )
    _tighten(state_dir)
    return in_place


def new_root_access_key() -> RootAccessKey:
    return RootAccessKey(
        account_id=str(10**11 + secrets.randbelow(9 * 10**11)),
        access_key_id=f"AKIA{b32encode(secrets.token_bytes(10)).decode()}",
        secret_access_key=b64encode(secrets.token_bytes(30)).decode(),
    )


def read_root_access_key(state_dir: Path) -> RootAccessKey:
    path = state_dir / FILE_NAME
    key = _read_if_there(state_dir)
    if key is None:
        raise RootAccessKeyError(f"{path} is not there: the first `outcrop serve` writes it.")
    return key


def exposed_paths(state_dir: Path) -> list[Path]:
    """The folder and the file, as far as other users of the machine can get at them."""
    return [
        path
        for path in (state_dir, state_dir / FILE_NAME)
        if path.exists() and path.stat().st_mode & 0o077
    ]


def make_state_dir(state_dir: Path) -> None:
    """Creates it for its owner alone; one that exists is left as it is (`exposed_paths` tells)."""
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    state_dir.mkdir(mode=0o700, exist_ok=True)


def _read_if_there(state_dir: Path) -> RootAccessKey | None:
    path = state_dir / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RootAccessKeyError(f"{path} cannot be read: {_reason(error)}.") from None
    return _parse(path, text)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "no reason given" if isinstance(error, OSError) else "it is not text"


def _parse(path: Path, text: str) -> RootAccessKey:
    profile = _default_profile(text)
    found = {field: profile.get(option, "") for field, (option, _) in _FIELDS.items()}
    wrong = list(_wrong(found))
    if wrong:
        raise RootAccessKeyError(
            f"{path} needs a [{_PROFILE}] section with a well-formed {', '.join(wrong)}."
            " Mend it, or move it away: the next start writes a new one."
        )
    return RootAccessKey(**found)


def _default_profile(text: str) -> Mapping[str, str]:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except ConfigParserError:
        # Its message quotes the line, which may hold the secret.
        return {}
    return parser[_PROFILE] if parser.has_section(_PROFILE) else {}


def _wrong(found: dict[str, str]) -> Iterator[str]:
    for field, (option, pattern) in _FIELDS.items():
        if not pattern.fullmatch(found[field]):
            yield option


def _write(state_dir: Path, key: RootAccessKey) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    make_state_dir(state_dir)
    path = state_dir / FILE_NAME
    temporary = state_dir / f".{FILE_NAME}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_text(key))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _text(key: RootAccessKey) -> str:
    return (
        f"[{_PROFILE}]\n"
        f"aws_access_key_id = {key.access_key_id}\n"
        f"aws_secret_access_key = {key.secret_access_key}\n"
        f"aws_account_id = {key.account_id}\n"
    )


def _tighten(state_dir: Path) -> None:
    path = state_dir / FILE_NAME
    if path.stat().st_mode & 0o077:
        # A read-only mount stays as it is, and `outcrop doctor` says so.
        with suppress(OSError):
            path.chmod(0o600)
