"""Model units: how many tokens a minute one of a model is, and how many of them servers hold."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from outcrop.fleet.config import InvalidFleetConfigError, ModelUnitsConfig
from outcrop.fleet.packing import lacking, linked

Place = tuple[str, str]
"""A Region and a model."""

Source = Literal["declared", "measured"]


class ModelUnit(Struct, frozen=True, kw_only=True):
    input_tokens_per_minute: int
    output_tokens_per_minute: int


class HoldingServer(Struct, frozen=True, kw_only=True):
    """How many units of each of its models a server sustains, alone; it may be filled by a mix."""

    name: str
    region: str | None
    """None: it belongs to every Region."""
    model_units: Mapping[str, int]


class Units:
    def __init__(
        self,
        units: Mapping[tuple[str, str | None], tuple[ModelUnit, Source]],
        servers: Sequence[HoldingServer],
        *,
        bases: Mapping[str, str],
    ) -> None:
        """`units` by model and Region (None: any); `bases` by custom model's name."""
        self._units = units
        self._by_server = {server.name: server.model_units for server in servers}
        self._holding = list(_alike_as_one(servers))
        self._bases = bases
        self._limited = {model_id for server in servers for model_id in server.model_units}
        self.shared = any(region is None for region, _ in self._holding)
        """Whether units sold in one Region may be missing in another."""

    def unit_of(self, model_id: str, region: str | None = None) -> ModelUnit | None:
        """A custom model's is its base model's; None: nobody declared or measured it."""
        found = self._found(model_id, region)
        return None if found is None else found[0]

    def base_of(self, model_id: str) -> str:
        """Of a custom model its base model; any other is its own."""
        return self._bases.get(model_id, model_id)

    def source_of(self, model_id: str, region: str | None = None) -> Source | None:
        found = self._found(model_id, region)
        return None if found is None else found[1]

    def limits(self, model_id: str) -> bool:
        """Whether any server says how many units of the model it sustains."""
        return model_id in self._limited

    def held_by(self, server: str) -> Mapping[str, int]:
        """Units of each model that the server sustains, alone."""
        return self._by_server.get(server, {})

    def supply(self, model_id: str, region: str) -> int | None:
        """The units that the Region's servers hold of this model alone; None: not limited."""
        if not self.limits(model_id):
            return None
        return sum(
            model_units.get(model_id, 0)
            for where, model_units in self._holding
            if where in {None, region}
        )

    def free(self, model_id: str, region: str, sold: Mapping[Place, int]) -> int | None:
        """How many more of the model can be sold in the Region; None: not limited."""
        supply = self.supply(model_id, region)
        if supply is None:
            return None
        place = (region, model_id)
        low, high = 0, supply
        while low < high:
            middle = (low + high + 1) // 2
            more = {**sold, place: sold.get(place, 0) + middle}
            low, high = (middle, high) if self.lacking(place, more) == 0 else (low, middle - 1)
        return low

    def lacking(self, place: Place, sold: Mapping[Place, int]) -> float:
        """Of what is sold at the place, and where it shares servers: the units nobody holds."""
        limited = {at: units for at, units in sold.items() if self.limits(at[1])}
        servers = [
            {
                (region, model_id): model_units[model_id]
                for region, model_id in sorted({*limited, place})
                if where in {None, region} and model_units.get(model_id)
            }
            for where, model_units in self._holding
        ]
        near = linked(servers, place)
        return lacking(servers, {at: units for at, units in limited.items() if at in near})

    def _found(self, model_id: str, region: str | None) -> tuple[ModelUnit, Source] | None:
        base = self.base_of(model_id)
        return self._units.get((base, region)) or self._units.get((base, None))


def _alike_as_one(
    servers: Sequence[HoldingServer],
) -> Iterator[tuple[str | None, Mapping[str, int]]]:
    """Regions and what is held there: n servers that hold the same hold n times as much."""
    alike = Counter(
        (server.region, frozenset(server.model_units.items()))
        for server in servers
        if server.model_units
    )
    for (region, model_units), number in alike.items():
        yield region, {model_id: units * number for model_id, units in model_units}


class MeasuredServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    model_units: dict[str, int]


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `outcrop calibrate` wrote: the tables of the configuration that it knows about."""

    model_units: tuple[ModelUnitsConfig, ...] = ()
    model_servers: tuple[MeasuredServer, ...] = ()


class ServerModels(Struct, frozen=True, kw_only=True):
    """A server as it is configured, as far as units are concerned."""

    name: str
    region: str | None
    models: frozenset[str]
    model_units: Mapping[str, int] = {}


def units_of(
    declared: Sequence[ModelUnitsConfig],
    servers: Sequence[ServerModels],
    measured: Measured,
    *,
    bases: Mapping[str, str],
) -> Units:
    """What is declared wins over what was measured. Raises InvalidFleetConfigError."""
    by_place: dict[tuple[str, str | None], tuple[ModelUnit, Source]] = {
        (row.model, row.region): (_unit(row), "measured") for row in measured.model_units
    }
    for row in declared:
        if by_place.get((row.model, row.region), (None, None))[1] == "declared":
            raise InvalidFleetConfigError(f"model_units: {row.model} is there twice")
        by_place[row.model, row.region] = (_unit(row), "declared")
    counted = {row.name: row.model_units for row in measured.model_servers}
    measured_with = {row.model: _unit(row) for row in measured.model_units if row.region is None}
    units = Units(by_place, (), bases=bases)
    holding = [
        HoldingServer(
            name=server.name,
            region=server.region,
            model_units=dict(_counts(server, counted.get(server.name, {}), measured_with, units)),
        )
        for server in servers
    ]
    return Units(by_place, holding, bases=bases)


def recounted(measured: Measured, unit: ModelUnitsConfig) -> Measured:
    """As if all had been measured with this unit of the model."""
    before = {row.model: _unit(row) for row in measured.model_units}.get(unit.model)
    if before is None or before == _unit(unit):
        return measured
    servers = [
        replace(
            server,
            model_units={
                model_id: _recounted(number, before, _unit(unit))
                if model_id == unit.model
                else number
                for model_id, number in server.model_units.items()
            },
        )
        for server in measured.model_servers
    ]
    return replace(measured, model_servers=tuple(servers))


def units_held(unit: ModelUnit, *, input_per_minute: float, output_per_minute: float) -> int:
    """How many whole units fit into what a server sustains."""
    return int(
        min(
            input_per_minute / unit.input_tokens_per_minute,
            output_per_minute / unit.output_tokens_per_minute,
        )
    )


def _unit(row: ModelUnitsConfig) -> ModelUnit:
    return ModelUnit(
        input_tokens_per_minute=row.input_tokens_per_minute,
        output_tokens_per_minute=row.output_tokens_per_minute,
    )


def _counts(
    server: ServerModels,
    counted: Mapping[str, int],
    measured_with: Mapping[str, ModelUnit],
    units: Units,
) -> Iterator[tuple[str, int]]:
    """Each model of the server that somebody counted units of: declared, or else measured."""
    for model_id in sorted({*server.models, *server.model_units}):
        base = units.base_of(model_id)
        unit = units.unit_of(model_id, server.region)
        number = server.model_units.get(model_id, server.model_units.get(base))
        if number is not None and unit is None:
            raise InvalidFleetConfigError(
                f"model server {server.name}: model_units counts {model_id}, and no table"
                " [[model_units]] says what a unit of it is"
            )
        measured = counted.get(model_id, counted.get(base))
        if number is None and measured is not None and unit and base in measured_with:
            number = _recounted(measured, measured_with[base], unit)
        if number is not None:
            yield model_id, number


def _recounted(number: int, before: ModelUnit, unit: ModelUnit) -> int:
    """Units that were counted with another unit than the one that now holds."""
    return units_held(
        unit,
        input_per_minute=number * before.input_tokens_per_minute,
        output_per_minute=number * before.output_tokens_per_minute,
    )
