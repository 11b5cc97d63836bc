"""`outcrop models`: what this configuration serves, in which units, and what is sold of them.

Made of the configuration and the store: it works whether the server runs or not.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from outcrop.control.room import FleetRoom
from outcrop.fleet.embedded import EMBEDDED_NAME
from outcrop.fleet.fleet_keeper import check_servers
from outcrop.fleet.units import ModelUnit, Place, Source, Units
from outcrop.server.config import Config
from outcrop.server.configured_units import configured_units, units_sold
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, EMBEDDING_MODEL_ID, Catalogue

EVERY_REGION = "every Region"


class ServedAt(Struct, frozen=True, kw_only=True):
    name: str
    region: str | None
    """None: every Region."""
    model_units: int | None
    """That it sustains of this model alone; None: nobody says."""


class InRegion(Struct, frozen=True, kw_only=True):
    region: str | None
    """None: any that is not named."""
    model_unit: ModelUnit | None
    source: Source | None
    """Whether the unit was declared or measured."""
    held: int | None
    """By model servers; None: not limited."""
    sold: int
    free: int | None


class ServedModel(Struct, frozen=True, kw_only=True):
    model_id: str
    servers: tuple[ServedAt, ...]
    regions: tuple[InRegion, ...]


class Models(Struct, frozen=True, kw_only=True):
    models: tuple[ServedModel, ...]
    discover: tuple[str, ...]
    """Servers that tell by themselves what more they have, to the server when it runs."""
    stands_in: bool


async def models_of(config: Config) -> Models:
    """Raises ConfigurationError, InvalidFleetConfigError and StoreError."""
    catalogue = Catalogue(custom_models=config.custom_models)
    check_servers(config.model_servers, catalogue)
    units = configured_units(config)
    room = FleetRoom(units, custom_models=config.custom_models)
    sold = room.sold(await units_sold(config))
    servers: dict[str, list[ServedAt]] = {model_id: [] for _, model_id in sold}
    for model_id, server in _served(config, units):
        servers.setdefault(model_id, []).append(server)
    return Models(
        models=tuple(
            _model(model_id, tuple(servers[model_id]), units, sold) for model_id in sorted(servers)
        ),
        discover=tuple(server.name for server in config.model_servers if server.discover),
        stands_in=config.stands_in,
    )


def as_json(models: Models) -> str:
    return msgspec.json.format(msgspec.json.encode(models), indent=2).decode()


def as_text(models: Models) -> str:
    lines = [line for model in models.models for line in _lines(model)]
    lines += [f"{name} tells by itself what else it has" for name in models.discover]
    if models.stands_in:
        lines.append(
            "The small embedded model stands in for every other text model of the catalogue,"
            " and units of those are not limited."
        )
    return "\n".join(lines)


def _served(config: Config, units: Units) -> Iterator[tuple[str, ServedAt]]:
    for server in config.model_servers:
        held = units.held_by(server.name)
        for model_id in sorted({*server.models, *held}):
            yield (
                model_id,
                ServedAt(name=server.name, region=server.region, model_units=held.get(model_id)),
            )
    if config.embedded.enabled:
        held = units.held_by(EMBEDDED_NAME)
        for model_id in (EMBEDDED_MODEL_ID, EMBEDDING_MODEL_ID):
            yield (
                model_id,
                ServedAt(name=EMBEDDED_NAME, region=None, model_units=held.get(model_id)),
            )


def _model(
    model_id: str, servers: tuple[ServedAt, ...], units: Units, sold: Mapping[Place, int]
) -> ServedModel:
    regions = {server.region for server in servers}
    regions |= {region for region, of in sold if of == model_id}
    return ServedModel(
        model_id=model_id,
        servers=servers,
        regions=tuple(
            InRegion(
                region=region,
                model_unit=units.unit_of(model_id, region),
                source=units.source_of(model_id, region),
                held=units.supply(model_id, region or ""),
                sold=sold.get((region or "", model_id), 0),
                free=units.free(model_id, region or "", sold),
            )
            for region in sorted(regions, key=lambda region: region or "")
        ),
    )


def _lines(model: ServedModel) -> Iterator[str]:
    yield model.model_id
    yield f"  servers  {_servers(model.servers) or 'none any more'}"
    for row in model.regions:
        yield f"  units    {row.region or EVERY_REGION}: {_stock(row)}"
        if row.model_unit is not None:
            yield f"           {_unit(row.model_unit)} ({row.source})"


def _stock(row: InRegion) -> str:
    if row.held is None:
        return f"not limited, {row.sold} sold"
    return f"{row.held} held, {row.sold} sold, {row.free} free"


def _unit(unit: ModelUnit) -> str:
    return (
        f"of {unit.input_tokens_per_minute} input and {unit.output_tokens_per_minute} output tokens"
        " a minute"
    )


def _servers(servers: Sequence[ServedAt]) -> str:
    return ", ".join(f"{server.name} ({server.region or EVERY_REGION})" for server in servers)
