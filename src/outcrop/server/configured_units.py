"""The model units of a configuration: declared in it or measured; and what is sold of them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from outcrop.fleet.config import InvalidFleetConfigError, ModelUnitsConfig
from outcrop.fleet.embedded import EMBEDDED_NAME
from outcrop.fleet.units import Measured, MeasuredServer, ServerModels, Units, recounted, units_of
from outcrop.server.config import Config, ConfigurationError, converted, read_toml
from outcrop.store.capacity import Capacity, Held
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, EMBEDDING_MODEL_ID, Catalogue
from outcrop.store.errors import SchemaError
from outcrop.store.migrations import MIGRATIONS
from outcrop.store.store import open_database

_HEAD = """\
# Written by `outcrop calibrate`: what model servers were measured to sustain (docs/capacity.md).
# The same tables in the configuration win over these.
"""


def configured_units(config: Config, path: Path | None = None) -> Units:
    """With what was measured in the file of that path, or in the state folder.

    Raises ConfigurationError for a file that cannot be used, and InvalidFleetConfigError.
    """
    measured = read_measured(path or config.units_path)
    catalogue = Catalogue(custom_models=config.custom_models)
    for row in config.model_units:
        if not catalogue.knows(row.model):
            raise InvalidFleetConfigError(f"model_units: {row.model} is no model of the catalogue")
    limited = bool(config.quotas or config.model_units or measured.model_units)
    try:
        config.require_one_count(limits_configured=limited)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return units_of(
        config.model_units,
        list(_servers(config, measured)),
        measured,
        bases={model.custom_model_name: model.base_model_id for model in config.custom_models},
    )


async def units_sold(config: Config) -> Held:
    """As the store knows it, which is not made or changed. Raises StoreError."""
    if config.database_url is None and not config.sqlite_path.exists():
        return {}
    async with open_database(config.database_url or config.sqlite_path) as database:
        ((version,),) = await database.fetch("SELECT version FROM schema_version")
        if version < len(MIGRATIONS):
            raise SchemaError(
                f"The database has schema {version} of {len(MIGRATIONS)}: `outcrop serve` brings"
                " it up to date"
            )
        return await Capacity(database).held()


def read_measured(path: Path) -> Measured:
    """Nothing, where the file is not there. Raises ConfigurationError."""
    return converted(read_toml(path), Measured, path) if path.exists() else Measured()


def write_measured(path: Path, unit: ModelUnitsConfig, server: MeasuredServer) -> None:
    """Puts the two in the place of what the file says of the same model, and of it there."""
    before = recounted(read_measured(path), unit)
    units = [row for row in before.model_units if row.model != unit.model]
    counts = {row.name: row.model_units for row in before.model_servers}
    counts[server.name] = {**counts.get(server.name, {}), **server.model_units}
    servers = [MeasuredServer(name=name, model_units=held) for name, held in counts.items()]
    text = _text([*units, unit], servers)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _servers(config: Config, measured: Measured) -> Sequence[ServerModels]:
    found = {row.name: row.model_units for row in measured.model_servers}
    servers = [
        ServerModels(
            name=server.name,
            region=server.region,
            # What a server is found to have later, it was measured with by its name.
            models=frozenset(
                {*server.models, *(found.get(server.name, ()) if server.discover else ())}
            ),
            model_units=server.model_units,
        )
        for server in config.model_servers
    ]
    if config.embedded.enabled:
        own = frozenset({EMBEDDED_MODEL_ID, EMBEDDING_MODEL_ID})
        servers.append(ServerModels(name=EMBEDDED_NAME, region=None, models=own))
    return servers


def _text(units: Sequence[ModelUnitsConfig], servers: Sequence[MeasuredServer]) -> str:
    tables = [_HEAD]
    for unit in units:
        region = "" if unit.region is None else f"region = {_quoted(unit.region)}\n"
        tables.append(
            f"[[model_units]]\nmodel = {_quoted(unit.model)}\n{region}"
            f"input_tokens_per_minute = {unit.input_tokens_per_minute}\n"
            f"output_tokens_per_minute = {unit.output_tokens_per_minute}\n"
        )
    for server in servers:
        counts = ", ".join(f"{_quoted(name)} = {n}" for name, n in server.model_units.items())
        tables.append(
            f"[[model_servers]]\nname = {_quoted(server.name)}\nmodel_units = {{ {counts} }}\n"
        )
    return "\n".join(tables)


def _quoted(text: str) -> str:
    # A JSON string is a basic string of TOML, but for DEL.
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
