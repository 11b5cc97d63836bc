"""Makes the fleet what the configuration says, and again when the configuration has changed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig, RoutingConfig
from outcrop.fleet.embedded import EmbeddedModel, EmbeddedSettings
from outcrop.fleet.embedded_engine import chat_engine, embedding_engine
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.leases import Leases, Sharing, Split
from outcrop.fleet.member import Member, Setup, Sleep, set_up
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.fleet.server_state import ServerState
from outcrop.fleet.shared_health import SharedHealth
from outcrop.fleet.slots import Slots
from outcrop.store.catalogue import (
    EMBEDDED_MODEL_ID,
    EMBEDDING_MODEL_ID,
    Catalogue,
    CustomModel,
)
from outcrop.wire.timestamps import Clock

_log = logging.getLogger(__name__)

# How long a start waits for servers to tell what they have; one that comes later is found later.
_FIRST_ANSWERS_S = 3.0
# What another worker tells is here half a second later; this is added to it.
_HEAR_EVERY_S = 0.2


class Others(Struct, frozen=True, kw_only=True):
    """The other workers that ask the same servers."""

    sharing: Sharing = Split()
    health: SharedHealth | None = None
    """None: no way to hear of them."""


@asynccontextmanager
async def open_fleet(  # noqa: PLR0913 - each by its name
    servers: Sequence[ModelServerConfig],
    embedded: EmbeddedSettings,
    *,
    custom_models: Sequence[CustomModel] = (),
    routing: RoutingConfig | None = None,
    others: Others | None = None,
    environ: Mapping[str, str],
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator["FleetKeeper"]:
    """Raises InvalidFleetConfigError. On leaving, connections close and the embedded child ends.

    `others`: who else asks the same servers; None: nobody.
    """
    own = OwnModels(
        chat=EmbeddedModel(embedded, chat_engine(embedded.config), tasks=tasks, clock=clock),
        # A child of its own, never started before somebody asks for an embedding.
        embeddings=EmbeddedModel(
            embedded, embedding_engine(embedded.config), tasks=tasks, clock=clock
        ),
        settings=embedded,
    )
    keeper = FleetKeeper(own, others=others, environ=environ, tasks=tasks, clock=clock)
    await keeper.reload(
        servers,
        custom_models=custom_models,
        stand_in=embedded.config.stand_in,
        routing=routing,
    )
    if embedded.config.enabled and embedded.config.start == "at_start":
        own.chat.start()
    try:
        await keeper.first_answers()
        await keeper.meet_others()
        yield keeper
    finally:
        await keeper.aclose()
        await own.chat.aclose()
        await own.embeddings.aclose()


class OwnModels(Struct, frozen=True, kw_only=True):
    """The models we ship; they stay as they are for as long as the process lives."""

    chat: EmbeddedModel
    embeddings: EmbeddedModel
    settings: EmbeddedSettings

    def served(self) -> Iterator[Served]:
        if not self.settings.config.enabled:
            return
        yield Served(EMBEDDING_MODEL_ID, _candidate(self.embeddings))
        if self.settings.config.model_path is None:
            yield Served(EMBEDDED_MODEL_ID, _candidate(self.chat))

    def stand_ins(self) -> tuple[Candidate, Candidate]:
        return _candidate(self.chat), _candidate(self.embeddings)


class FleetKeeper:
    def __init__(
        self,
        own: OwnModels,
        *,
        others: Others | None = None,
        environ: Mapping[str, str],
        tasks: asyncio.TaskGroup,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.fleet = Fleet((), stand_in=None)
        self.router = Router()
        self._own = own
        self._others = others or Others()
        self._with_others: list[asyncio.Task[None]] = []
        self._catalogue = Catalogue()
        self._environ = environ
        self._tasks = tasks
        self._clock = clock
        self._sleep = sleep
        self._members: dict[str, Member] = {}
        self._stands_in = False

    async def reload(
        self,
        servers: Sequence[ModelServerConfig],
        *,
        custom_models: Sequence[CustomModel] = (),
        stand_in: bool | None,
        routing: RoutingConfig | None = None,
    ) -> None:
        """All or nothing: raises InvalidFleetConfigError and leaves everything as it was.

        Calls that have begun end where they began; a server that stays as it was keeps its
        connections.
        """
        catalogue = Catalogue(custom_models=custom_models)
        check_servers(servers, catalogue)
        # Nothing of the fleet has changed before the last of them could be made.
        members = {config.name: self._member(set_up(config, self._environ)) for config in servers}
        self._catalogue = catalogue
        self.router.follow(routing or RoutingConfig())
        before, self._members = self._members, members
        self._stands_in = self._may_stand_in(servers, stand_in=stand_in)
        for name, member in members.items():
            if name in before and member is not before[name]:
                member.inherit(before[name])
        self._others.sharing.follow(dict(_limited(members)))
        self._serve()
        for name, member in members.items():
            if member is not before.get(name):
                member.discover(self._tasks, self._serve)
                member.probe(self._tasks, lambda: self.router.rules, self._tell_ejected)
        for name, member in before.items():
            if member is not members.get(name):
                await member.aclose()

    async def first_answers(self) -> None:
        """Returns when all servers have been asked for their models, or soon enough."""
        try:
            async with asyncio.timeout(_FIRST_ANSWERS_S):
                for member in self._members.values():
                    await member.asked.wait()
        except TimeoutError:
            _log.warning("not every model server has told its models yet")

    async def meet_others(self) -> None:
        """From here on, what is shared with other workers goes to and fro."""
        sharing, health = self._others.sharing, self._others.health
        if isinstance(sharing, Leases):
            await sharing.look()
            self._with_others.append(self._tasks.create_task(sharing.keep()))
        if health is not None:
            self._with_others.append(self._tasks.create_task(self._hear(health)))

    async def aclose(self) -> None:
        for task in self._with_others:
            task.cancel()
        for member in self._members.values():
            await member.aclose()

    def _member(self, setup: Setup) -> Member:
        before = self._members.get(setup.config.name)
        if before is not None and before.setup == setup:
            return before
        return Member(setup, knows=self._knows, clock=self._clock, sleep=self._sleep)

    def _tell_ejected(self, state: ServerState) -> None:
        if self._others.health is not None:
            self._others.health.tell(state)

    async def _hear(self, health: SharedHealth) -> None:
        while True:
            await self._sleep(_HEAR_EVERY_S)
            for name, why in health.news():
                if name in self._members:
                    self._members[name].eject(self.router.rules, why)

    def _knows(self, model_id: str) -> bool:
        return self._catalogue.knows(model_id)

    def _serve(self) -> None:
        served = [row for member in self._members.values() for row in member.served()]
        chat, embeddings = self._own.stand_ins() if self._stands_in else (None, None)
        self.fleet.replace([*served, *self._own.served()], chat, embeddings)
        self.router.change()

    def _may_stand_in(self, servers: Sequence[ModelServerConfig], *, stand_in: bool | None) -> bool:
        if not self._own.settings.config.enabled:
            return False
        stands_in = not servers if stand_in is None else stand_in
        if stands_in and not self._stands_in:
            _log.warning(
                "the embedded models %s and %s stand in for every text and text embedding model"
                " that no model server serves",
                self._own.chat.served_as,
                self._own.embeddings.served_as,
            )
        return stands_in


def check_servers(servers: Sequence[ModelServerConfig], catalogue: Catalogue) -> None:
    """Everything wrong with the list, by name. Raises InvalidFleetConfigError."""
    wrong = [problem for config in servers for problem in _problems(config, catalogue)]
    names = [config.name for config in servers]
    doubled = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"model server {name}: there are two of this name" for name in doubled]
    if wrong:
        raise InvalidFleetConfigError("; ".join(wrong))


def _limited(members: Mapping[str, Member]) -> Iterator[tuple[str, tuple[Slots, int]]]:
    """The slots of servers that have a number of them; those of others are made endless."""
    for name, member in members.items():
        slots, most = member.server.state.slots, member.setup.config.max_concurrency
        if most is None:
            slots.resize(None)
        else:
            yield name, (slots, most)


def _problems(config: ModelServerConfig, catalogue: Catalogue) -> Iterator[str]:
    if config.dialect == "embedded":
        yield f"model server {config.name}: the embedded model is set up in the table [embedded]"
    try:
        Address.parse(config.url)
    except ValueError as error:
        yield f"model server {config.name}: {error}"
    for model_id in config.models:
        if not catalogue.knows(model_id):
            yield f"model server {config.name}: {model_id} is no model of the catalogue"


def _candidate(model: EmbeddedModel) -> Candidate:
    return Candidate(server=model, dialect="embedded", served_as=model.served_as, region=None)
