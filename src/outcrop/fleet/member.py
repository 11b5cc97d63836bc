"""One configured model server while it belongs to the fleet, and what it was found to have."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict, replace

from outcrop.fleet.bedrock_server import BedrockServer, Signing, signing_of
from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.config import CapabilitiesConfig, Dialect, ModelServerConfig, RoutingConfig
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.fleet import Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.listing import ListedModel, NoListingError, listed_models
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.fleet.secret_headers import headers_of
from outcrop.fleet.server_state import ServerState
from outcrop.fleet.tls import tls_of
from outcrop.wire.timestamps import Clock

_log = logging.getLogger(__name__)

MODELS_PATH = "/models"
# A list is there at once, or its server is not well.
_PROBE_PATIENCE_S = 5.0

Sleep = Callable[[float], Awaitable[None]]

# What servers of a dialect usually can, where neither they nor the operator say more.
_USUAL: Mapping[Dialect, Capabilities] = {
    "openai": Capabilities(),
    "anthropic": Capabilities(documents=True, completions=False),
    "bedrock": Capabilities(documents=True, completions=False),
}


class Setup(Struct, frozen=True):
    """All that a connection to a server is made of: while it is the same, so is the connection."""

    config: ModelServerConfig
    headers: dict[str, str]
    tls_files: tuple[bytes, ...]
    signing: Signing | None


def set_up(config: ModelServerConfig, environ: Mapping[str, str]) -> Setup:
    """Raises InvalidFleetConfigError."""
    # First of all, because it says what is wrong with the files.
    tls_of(config)
    tls = config.tls
    paths = [path for path in (tls.ca_file, tls.certificate_file, tls.key_file) if path]
    files = tuple(Path(path).read_bytes() for path in paths)
    return Setup(config, headers_of(config, environ), files, signing_of(config, environ))


class Member:
    def __init__(
        self, setup: Setup, *, knows: Callable[[str], bool], clock: Clock, sleep: Sleep
    ) -> None:
        """`knows` tells the models of the catalogue from other names."""
        self.setup = setup
        self.server = _connected(setup, clock)
        self.asked = asyncio.Event()
        """Set when the server was asked for its models, whatever came of it."""
        self._knows = knows
        self._sleep = sleep
        self._listed: dict[str, ListedModel] = {}
        self._answers = True
        self._asking: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._left = False
        self._look_after: Callable[[], None] = _nobody_looks
        if setup.config.tls.insecure_skip_verify:
            _log.warning(
                "model server %s: its certificate is not verified (tls.insecure_skip_verify)",
                setup.config.name,
            )

    def served(self) -> Iterator[Served]:
        config = self.setup.config
        for model_id, served_as in config.models.items():
            yield self._row(model_id, served_as)
        for name in self._listed:
            if self._knows(name) and name not in config.models:
                yield self._row(name, name)

    def inherit(self, predecessor: "Member") -> None:
        """Where it is the same server: its calls in progress, and what it was found to have."""
        if self.setup.config.url != predecessor.setup.config.url:
            return
        self.server.state.slots = predecessor.server.state.slots
        if self.setup.config.discover:
            self._listed = predecessor._listed  # noqa: SLF001 - its own kind

    def discover(self, tasks: asyncio.TaskGroup, changed: Callable[[], None]) -> None:
        """Asks the server for its models, again and again."""
        if self.setup.config.discover:
            self._asking = tasks.create_task(self._ask_forever(changed))
        else:
            self.asked.set()

    def probe(
        self,
        tasks: asyncio.TaskGroup,
        rules: Callable[[], RoutingConfig],
        tell: Callable[[ServerState], None],
    ) -> None:
        """From here on, an ejected server is asked for its models before it is given a request.

        `tell` is called when it was ejected here.
        """
        state = self.server.state
        # Amazon has nothing to ask for: time brings it back.
        probes = self.setup.config.dialect != "bedrock"
        if probes:
            state.health.is_probed()

        def look_after() -> None:
            if probes and not self._left and (self._probing is None or self._probing.done()):
                self._probing = tasks.create_task(self._probe_while_ejected(rules))

        def ejected() -> None:
            tell(state)
            look_after()

        self._look_after = look_after
        state.ejected = ejected

    def eject(self, rules: RoutingConfig, why: str) -> None:
        """As another worker did."""
        state = self.server.state
        if not state.health.ejected:
            state.health.eject(asyncio.get_running_loop().time(), rules, why)
            _log.warning("model server %s is ejected by another worker: %s", state.name, why)
            self._look_after()

    async def aclose(self) -> None:
        """Calls in progress come to their end; whatever they show, nobody looks after it."""
        self._left = True
        for task in (self._asking, self._probing):
            if task is not None:
                task.cancel()
        await self.server.aclose()

    def _row(self, model_id: str, served_as: str) -> Served:
        config = self.setup.config
        candidate = Candidate(
            server=self.server,
            dialect=config.dialect,
            served_as=served_as,
            region=config.region,
            capabilities=capabilities(config, self._listed.get(served_as)),
        )
        return Served(model_id, candidate)

    async def _ask_forever(self, changed: Callable[[], None]) -> None:
        while True:
            try:
                await self._ask(changed)
            except (ServerFailureError, NoListingError) as error:
                # What it had it may have again: calls find out by themselves.
                self._tell_of(error)
            self.asked.set()
            await self._sleep(self.setup.config.discover_every_s)

    async def _probe_while_ejected(self, rules: Callable[[], RoutingConfig]) -> None:
        health, time = self.server.state.health, asyncio.get_running_loop().time
        while health.ejected:
            await self._sleep(max(0.0, health.left_alone_until - time()))
            health.probed(time(), rules(), answers=await self._is_there())
        _log.info("model server %s may come back", self.server.name)
        self.server.state.come_back()

    async def _is_there(self) -> bool:
        """Any answer but a failure of its own: not every server lists its models."""
        try:
            async with asyncio.timeout(_PROBE_PATIENCE_S):
                await self.server.get(MODELS_PATH)
        except TimeoutError:
            return False
        except ServerFailureError as failure:
            return failure.status is not None and failure.status < 500
        return True

    async def _ask(self, changed: Callable[[], None]) -> None:
        listed = {model.name: model for model in listed_models(await self.server.get(MODELS_PATH))}
        self._answers = True
        if listed == self._listed:
            return
        self._listed = listed
        _log.info(
            "model server %s has %d models; served: %s",
            self.server.name,
            len(listed),
            ", ".join(row.model_id for row in self.served()) or "none",
        )
        changed()

    def _tell_of(self, error: Exception) -> None:
        if self._answers:
            _log.warning("model server %s does not tell its models: %s", self.server.name, error)
        self._answers = False


def _nobody_looks() -> None:
    pass


def _connected(setup: Setup, clock: Clock) -> ModelServer | BedrockServer:
    server = model_server(setup)
    if setup.signing is None:
        return server
    address = Address.parse(setup.config.url)
    return BedrockServer(server, address, signing=setup.signing, clock=clock)


def model_server(setup: Setup) -> ModelServer:
    """As calls reach it that are not signed one by one."""
    config = setup.config
    return ModelServer(
        config.name,
        Address.parse(config.url),
        headers=setup.headers,
        timeouts=config.timeouts,
        tls=tls_of(config),
        max_concurrency=config.max_concurrency,
        weight=config.weight,
    )


def capabilities(config: ModelServerConfig, listed: ListedModel | None) -> Capabilities:
    """The operator's word, then the server's, then what is usual."""
    found: dict[str, bool | None] = {}
    if listed is not None:
        found = {name: getattr(listed, name) for name in _TOLD_BY_SERVERS}
    told = {name: value for name, value in found.items() if value is not None}
    told |= _said(config.capabilities)
    return replace(_USUAL.get(config.dialect, Capabilities()), **told)


_TOLD_BY_SERVERS = ("tools", "images", "json_schema", "reasoning")


def _said(config: CapabilitiesConfig) -> dict[str, bool]:
    return {name: value for name, value in asdict(config).items() if value is not None}
