"""The way to one Valkey: the script that counts there, and what can go wrong with calling it."""

import asyncio
import secrets
from collections.abc import Mapping
from hashlib import sha1
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import msgspec
from valkey import asyncio as valkey_asyncio, exceptions

from outcrop.counters.config import InvalidValkeyConfigError, ValkeyConfig
from outcrop.counters.steady import Steady
from outcrop.wire.timestamps import Clock

_SCRIPT = files("outcrop.counters").joinpath("counters.lua").read_text()
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # as EVALSHA wants it
_KEY = "{outcrop}"  # every key begins with it: one slot, where there are slots
_CLOSE_S = 1.0


class ValkeyLostError(Exception):
    """Valkey did not answer, or not as it should. What was asked may have been done or not."""


class _Client(Protocol):
    """What is used of valkey-py, whose types say little."""

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: object) -> bytes: ...
    async def eval(self, script: str, numkeys: int, *keys_and_args: object) -> bytes: ...
    async def aclose(self) -> None: ...


class _Answer(NamedTuple):
    now: int
    forgotten: int
    answer: Any


class ValkeyLink:
    def __init__(self, config: ValkeyConfig, environ: Mapping[str, str], clock: Clock) -> None:
        """Connects at the first call. Raises InvalidValkeyConfigError."""
        assert config.url is not None
        parts = urlsplit(config.url)
        self.server = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
        """For the log: without user and password."""
        self.worker = secrets.token_hex(8)
        self.forgotten = False
        """Whether Valkey did not know this worker, when it was called last or before."""
        self._timeout_s = config.timeout_s
        self._client = _client(config, environ)
        self._steady = Steady(clock)
        self._seen = -1
        self._seen_at = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Answer).decode

    async def call(self, operation: str, given: object) -> Any:
        """Raises ValkeyLostError."""
        passed = int((self._steady() - self._seen_at) * 1000)
        asked = self._encode((operation, self.worker, self._seen, passed, given))
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = self._decode(await self._evaluate(asked))
        except (exceptions.ValkeyError, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise ValkeyLostError(_words(error)) from error
        self._seen, self._seen_at = answer.now, self._steady()
        if answer.forgotten and operation != "join":
            self.forgotten = True
        return answer.answer

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._client.aclose()
        except (exceptions.ValkeyError, OSError, TimeoutError):
            pass  # it is gone already

    async def _evaluate(self, asked: bytes) -> bytes:
        try:
            return await self._client.evalsha(_SHA, 1, _KEY, asked)
        except exceptions.NoScriptError:
            return await self._client.eval(_SCRIPT, 1, _KEY, asked)


def is_refusal(error: ValkeyLostError) -> bool:
    """Whether Valkey is there and will not have us: waiting does not mend that."""
    return isinstance(error.__cause__, _REFUSALS) and not isinstance(error.__cause__, _PASSING)


_REFUSALS = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.InvalidResponse,
    exceptions.ResponseError,  # a wrong password, too
)
_PASSING = (
    exceptions.ClusterError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,  # a replica, about to be more
    exceptions.TryAgainError,
)


def _client(config: ValkeyConfig, environ: Mapping[str, str]) -> _Client:
    options: dict[str, object] = {"socket_timeout": None}  # call() has the time of all of it
    password = _password(config, environ)
    if password is not None:
        options["password"] = password
    if config.encrypted:
        # The client itself would believe a certificate of any name.
        options["ssl_check_hostname"] = True
        if config.ca_file is not None:
            options["ssl_ca_certs"] = config.ca_file
    try:
        client: Any = cast("Any", valkey_asyncio.Valkey).from_url(config.url, **options)
    except ValueError as error:
        raise InvalidValkeyConfigError("valkey.url is not a URL of Valkey") from error
    return cast("_Client", client)


def _password(config: ValkeyConfig, environ: Mapping[str, str]) -> str | None:
    if config.password_env is not None:
        password = environ.get(config.password_env, "").strip()
        where = f"the environment variable {config.password_env}, named by valkey.password_env,"
    elif config.password_file is not None:
        where = f"valkey.password_file {config.password_file}"
        try:
            password = Path(config.password_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValkeyConfigError(f"{where} cannot be read: {error}") from error
    else:
        return None
    if not password:
        raise InvalidValkeyConfigError(f"{where} is empty or not there")
    return password


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
