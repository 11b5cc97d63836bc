"""All the model servers of this installation, built from what the operator says about them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig, api_key
from outcrop.fleet.embedded import EmbeddedModel, EmbeddedSettings, served_as
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.router import Candidate
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, Catalogue, CustomModel, FoundationModel
from outcrop.wire.timestamps import Clock

_log = logging.getLogger(__name__)

ANYWHERE = ""
"""In a list of Regions: every Region, as in the ARN of a global profile's model."""


class Served(Struct, frozen=True):
    """One model on one server."""

    model_id: str
    candidate: Candidate


class Fleet:
    """Who serves which model in which Region."""

    def __init__(self, served: Iterable[Served], stand_in: Candidate | None) -> None:
        self._stand_in = stand_in
        self._by_model: dict[str, list[Candidate]] = {}
        for row in served:
            self._by_model.setdefault(row.model_id, []).append(row.candidate)

    def candidates(self, model_id: str, regions: Sequence[str]) -> Sequence[Candidate]:
        """In the order of `regions`, each at most once; a server without a Region is in all."""
        serving = self._by_model.get(model_id)
        if serving is None:
            return ()
        return tuple(dict.fromkeys(_in_order(serving, regions)))

    def stand_in(self, model: FoundationModel) -> Candidate | None:
        """Who answers for a model that nobody serves, where the configuration lets it."""
        return self._stand_in if model.converses else None

    def serves(self, model: FoundationModel, region: str) -> bool:
        """Whether a call of the model in the Region would be answered: for the catalogue."""
        return bool(self.candidates(model.model_id, (region,)) or self.stand_in(model))


@asynccontextmanager
async def open_fleet(
    servers: Sequence[ModelServerConfig],
    embedded: EmbeddedSettings,
    *,
    custom_models: Sequence[CustomModel] = (),
    environ: Mapping[str, str],
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator[Fleet]:
    """Raises InvalidFleetConfigError. On leaving, connections close and the embedded child ends."""
    _check(servers, Catalogue(custom_models=custom_models))
    connections = [_connection(config, environ) for config in servers]
    model = EmbeddedModel(embedded, tasks=tasks, clock=clock)
    served = [row for pair in zip(servers, connections, strict=True) for row in _served(*pair)]
    if embedded.config.enabled and embedded.config.start == "at_start":
        model.start()
    try:
        yield _fleet(served, embedded, model, named=bool(servers))
    finally:
        await model.aclose()
        for connection in connections:
            await connection.aclose()


def _in_order(serving: Sequence[Candidate], regions: Sequence[str]) -> Iterator[Candidate]:
    for region in regions:
        for candidate in serving:
            if region == ANYWHERE or candidate.region in {None, region}:
                yield candidate


def _fleet(
    served: Sequence[Served], embedded: EmbeddedSettings, model: EmbeddedModel, *, named: bool
) -> Fleet:
    config = embedded.config
    if not config.enabled:
        return Fleet(served, stand_in=None)
    candidate = Candidate(
        server=model, dialect="embedded", served_as=served_as(config), region=None
    )
    own = [Served(EMBEDDED_MODEL_ID, candidate)] if config.model_path is None else []
    stands_in = not named if config.stand_in is None else config.stand_in
    if stands_in:
        _log.warning(
            "the embedded model %s stands in for every text model that no model server serves",
            candidate.served_as,
        )
    return Fleet([*served, *own], stand_in=candidate if stands_in else None)


def _served(config: ModelServerConfig, connection: ModelServer) -> Iterator[Served]:
    for model_id, name in config.models.items():
        yield Served(
            model_id,
            Candidate(
                server=connection, dialect=config.dialect, served_as=name, region=config.region
            ),
        )


def _connection(config: ModelServerConfig, environ: Mapping[str, str]) -> ModelServer:
    return ModelServer(
        config.name,
        Address.parse(config.url),
        api_key=api_key(config, environ),
        timeouts=config.timeouts,
    )


def _check(servers: Sequence[ModelServerConfig], catalogue: Catalogue) -> None:
    """Everything wrong with the list, by name."""
    wrong = [problem for config in servers for problem in _problems(config, catalogue)]
    names = [config.name for config in servers]
    doubled = sorted({name for name in names if names.count(name) > 1})
    wrong += [f"model server {name}: there are two of this name" for name in doubled]
    if wrong:
        raise InvalidFleetConfigError("; ".join(wrong))


def _problems(config: ModelServerConfig, catalogue: Catalogue) -> Iterator[str]:
    if config.dialect == "embedded":
        yield f"model server {config.name}: the embedded model is set up in the table [embedded]"
    elif config.dialect != "openai":
        yield f"model server {config.name}: dialect {config.dialect} is not served, only openai is"
    for model_id in config.models:
        if not catalogue.knows(model_id):
            yield f"model server {config.name}: {model_id} is no model of the catalogue"
