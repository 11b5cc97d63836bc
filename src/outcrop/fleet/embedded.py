"""An embedded model: a supervised child shared by every process that works on one state folder."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from outcrop.fleet.config import EmbeddedConfig, TimeoutsConfig
from outcrop.fleet.embedded_child import (
    COMMAND,
    Child,
    ChildFailedError,
    running_child,
)
from outcrop.fleet.embedded_engine import EmbeddedEngine, chat_engine
from outcrop.fleet.embedded_folder import Board, EmbeddedFolder, Lock, Published
from outcrop.fleet.embedded_worker import WorkerSettings
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import Calling, ModelServer
from outcrop.fleet.server_state import ServerState
from outcrop.fleet.weights import WeightsUnavailableError, pull
from outcrop.wire.timestamps import Clock

_log = logging.getLogger(__name__)

EMBEDDED_NAME = "embedded"

# A first start fetches 98 MB and loads them: a request waits for that, as long as SDKs do.
_PATIENCE_S = 50.0
_LOOK_AGAIN_S = 0.05
_LONGEST_BACK_OFF_S = 30.0
# A child that lived this long did not die of what it was started with.
_HEALTHY = timedelta(seconds=60)
# Waiting for a slot counts: the engine answers nothing before it has one.
_FIRST_BYTE_S = 300.0
Sleep = Callable[[float], Awaitable[None]]


class EmbeddedSettings(Struct, frozen=True, kw_only=True):
    config: EmbeddedConfig
    state: Path
    """The state folder: whoever shares it shares the child."""
    cache: Path
    """Where fetched weights are kept."""


def served_as(config: EmbeddedConfig) -> str:
    """What the embedded server calls its model."""
    return chat_engine(config).served_as


class EmbeddedModel:
    """Answers as a model server does, starting it first where nobody has.

    The first process that needs the child takes a lock, starts it and looks after it; others find
    it in the state folder. A process that dies loses the lock, its child leaves, and the next that
    needs it takes over.
    """

    def __init__(
        self,
        settings: EmbeddedSettings,
        engine: EmbeddedEngine,
        *,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._cache = settings.cache
        self._engine = engine
        self._tasks = tasks
        self._clock = clock
        self._sleep = sleep
        self._command = command
        self._folder = EmbeddedFolder(settings.state, engine.folder)
        self._lock = Lock(self._folder.lock)
        self._board = Board(self._folder.board)
        self._supervising: asyncio.Task[None] | None = None
        self._server: ModelServer | None = None
        self._seen = Published()
        # Without slots: its engine lets calls wait for one.
        self.state = ServerState(EMBEDDED_NAME)
        self.state.not_ready = self._why_not_ready

    @property
    def name(self) -> str:
        return EMBEDDED_NAME

    @property
    def served_as(self) -> str:
        """What its server calls its model."""
        return self._engine.served_as

    def start(self) -> None:
        """Does not wait: a request that comes too early does."""
        self._folder.create()
        if self._supervising is None and self._lock.take():
            # A predecessor that was killed has left word of a child that is gone too.
            self._wipe()
            self._supervising = self._tasks.create_task(self._supervise())

    @asynccontextmanager
    async def open(self, call: Calling) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as held:
            yield await self._opened(held, call)

    async def aclose(self) -> None:
        """Ends the child if it is ours; another process may take over."""
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.wait([self._supervising])
        await self._forget_server()
        self._lock.release()

    async def _opened(self, held: AsyncExitStack, call: Calling) -> AsyncIterator[bytes]:
        server = await self._ready(other_than=None)
        try:
            return await held.enter_async_context(server.open(call))
        except ServerFailureError as failure:
            if failure.kind not in {FailureKind.REFUSED, FailureKind.BROKE_OFF}:
                raise
        # It died a moment ago and nobody has noticed: its successor answers.
        server = await self._ready(other_than=server)
        return await held.enter_async_context(server.open(call))

    async def _ready(self, *, other_than: ModelServer | None) -> ModelServer:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._wait_for_server(other_than)
        except TimeoutError as error:
            raise self._not_ready("is still starting") from error

    async def _wait_for_server(self, other_than: ModelServer | None) -> ModelServer:
        server = await self._look()
        while server is None or server is other_than:
            await asyncio.sleep(_LOOK_AGAIN_S)
            server = await self._look()
        return server

    async def _look(self) -> ModelServer | None:
        """The server that is ready now, if there is one; starts it if nobody has."""
        try:
            self.start()
            published = self._board.read()
        except OSError as error:
            raise self._not_ready(f"cannot use the state folder: {error}") from error
        if published.failure:
            raise self._not_ready(published.failure)
        if published != self._seen:
            await self._forget_server()
            self._seen = published
        if self._server is None and published.socket:
            self._server = _server(published, self._engine)
        return self._server

    async def _forget_server(self) -> None:
        if self._server is not None:
            await self._server.aclose()
        self._server = None

    def _not_ready(self, why: str) -> ServerFailureError:
        return ServerFailureError(EMBEDDED_NAME, FailureKind.NOT_READY, why)

    def _why_not_ready(self) -> str:
        """As the state folder tells it: true of every process that shares it."""
        try:
            published = self._board.read()
        except OSError as error:
            return f"cannot use the state folder: {error}"
        if published.socket or published.failure:
            return published.failure
        own, weights = self._engine.model_path, self._engine.weights
        if own is not None:
            return "" if Path(own).is_file() else f"there is no file {own}"
        here = weights.are_in(self._cache)
        return "" if here else f"the weights of {weights.name} are not here yet"

    async def _supervise(self) -> None:
        try:
            delay_s = 0.0
            while True:
                started = self._clock()
                why = await self._live()
                _log.error("the embedded model %s is gone: %s", self._engine.served_as, why)
                healthy = self._clock() - started >= _HEALTHY
                delay_s = 0.0 if healthy else delay_s
                await self._back_off(delay_s, why)
                delay_s = min(max(1.0, 2 * delay_s), _LONGEST_BACK_OFF_S)
        finally:
            self._wipe()

    async def _back_off(self, delay_s: float, why: str) -> None:
        """The first time it is started again at once; after that, requests need not wait for it."""
        if delay_s > 0:
            self._tell(Published(failure=f"{why}; next attempt in {delay_s:.0f} s at most"))
            await self._sleep(delay_s)
        self._wipe()

    def _tell(self, published: Published) -> None:
        try:
            self._board.write(published)
        except OSError as error:
            # A full disk must not end the server; other processes wait, and then say so.
            _log.warning("the state folder cannot be written: %s", error)

    def _wipe(self) -> None:
        try:
            self._board.wipe()
        except OSError as error:
            _log.warning("the state folder cannot be written: %s", error)

    async def _live(self) -> str:
        """One life of the child; returns how it ended."""
        try:
            model = await self._model_path()
            with self._folder.socket() as socket:
                settings = _worker_settings(self._engine, model, socket)
                async with running_child(settings, self._folder.log, self._command) as child:
                    self._publish(settings, child)
                    return await child.gone()
        except (ChildFailedError, WeightsUnavailableError, OSError) as error:
            return str(error)
        finally:
            self._wipe()

    async def _model_path(self) -> Path:
        if self._engine.model_path is not None:
            return Path(self._engine.model_path)
        return await pull(self._engine.weights, self._cache, _log.info)

    def _publish(self, settings: WorkerSettings, child: Child) -> None:
        _log.info("the embedded model is ready: pid %d, %s", child.pid, settings.model_path)
        published = Published(socket=settings.socket, api_key=settings.api_key, pid=child.pid)
        self._board.write(published)


def _worker_settings(engine: EmbeddedEngine, model: Path, socket: str) -> WorkerSettings:
    return WorkerSettings(
        model_path=str(model),
        alias=engine.served_as,
        socket=socket,
        api_key=secrets.token_hex(16),
        threads=engine.threads,
        context_tokens=engine.context_tokens,
        slots=engine.slots,
        embeds=engine.embeds,
    )


def _server(published: Published, engine: EmbeddedEngine) -> ModelServer:
    return ModelServer(
        EMBEDDED_NAME,
        Address(host="localhost", unix_socket=published.socket, base_path=engine.base_path),
        api_key=published.api_key,
        timeouts=TimeoutsConfig(first_byte_s=_FIRST_BYTE_S),
    )
