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
_IDLE_S = 10.0  # whatever is in between may have dropped a connection by then


class ValkeyLostError(Exception):
    """Valkey did not answer, or not as it should. What was asked may have been done or not."""


class _Connection(Protocol):
    """What is used of valkey-py's, whose types say little. It connects when it sends."""

    async def send_command(self, *words: object) -> None: ...
    async def read_response(self) -> bytes: ...
    async def disconnect(self, nowait: bool = False) -> None: ...  # noqa: FBT001, FBT002 - theirs


class _Pool(Protocol):
    def make_connection(self) -> _Connection: ...


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
        self.heard_at = 0.0
        """When, by the event loop, it was asked what it answered last."""
        self._timeout_s = config.timeout_s
        # The client's own way with its pool costs twice what the call does.
        self._pool = _pool(config, environ)
        self._free: list[tuple[_Connection, float]] = []
        self._steady = Steady(clock)
        self._seen = -1
        self._seen_at = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Answer).decode

    async def call(self, operation: str, given: object) -> Any:
        """Raises ValkeyLostError."""
        asked_at = _loop_time()
        passed = int((self._steady() - self._seen_at) * 1000)
        asked = self._encode((operation, self.worker, self._seen, passed, given))
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = self._decode(await self._evaluate(asked))
        except (exceptions.ValkeyError, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise ValkeyLostError(_words(error)) from error
        self._seen, self._seen_at = answer.now, self._steady()
        self.heard_at = asked_at
        if answer.forgotten and operation != "join":
            self.forgotten = True
        return answer.answer

    async def close(self) -> None:
        for connection, _ in self._free:
            await connection.disconnect(nowait=True)
        self._free.clear()

    async def _evaluate(self, asked: bytes) -> bytes:
        connection = await self._take()
        try:
            answer = await _evaluated(connection, asked)
        except BaseException:
            await connection.disconnect(nowait=True)
            await self.close()  # what happened to one has happened to all
            raise
        self._free.append((connection, _loop_time()))
        return answer

    async def _take(self) -> _Connection:
        while self._free:
            connection, used_at = self._free.pop()
            if _loop_time() < used_at + _IDLE_S:
                return connection
            await connection.disconnect(nowait=True)
        return self._pool.make_connection()


async def _evaluated(connection: _Connection, asked: bytes) -> bytes:
    try:
        await connection.send_command("EVALSHA", _SHA, 1, _KEY, asked)
        return await connection.read_response()
    except exceptions.NoScriptError:
        await connection.send_command("EVAL", _SCRIPT, 1, _KEY, asked)
        return await connection.read_response()


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def is_refusal(error: ValkeyLostError) -> bool:
    """Whether Valkey is there and will not have us: waiting does not mend that."""
    cause = error.__cause__
    while cause is not None:  # the client wraps what it hears while it connects
        if isinstance(cause, _REFUSALS) and not isinstance(cause, _PASSING):
            return True
        cause = cause.__cause__
    return False


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


def _pool(config: ValkeyConfig, environ: Mapping[str, str]) -> _Pool:
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
        pool: Any = cast("Any", valkey_asyncio.ConnectionPool).from_url(config.url, **options)
    except ValueError as error:
        raise InvalidValkeyConfigError("valkey.url is not a URL of Valkey") from error
    return cast("_Pool", pool)


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
