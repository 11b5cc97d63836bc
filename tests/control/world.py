"""The control plane on a store of its own, with a clock that stands still."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from outcrop.control.inference_profiles import InferenceProfiles
from outcrop.control.provisionable import ProvisionableModels
from outcrop.control.provisioned_throughput import ProvisionedThroughput
from outcrop.control.room import FleetRoom
from outcrop.fleet.units import Units
from outcrop.iam.caller import Caller
from outcrop.store.catalogue import Catalogue, CustomModel, FoundationModel
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock

CALLER = Caller(
    account_id="111122223333",
    arn="arn:aws:iam::111122223333:root",
    user_id="111122223333",
    region="us-east-1",
    partition="aws",
)
MODEL_ARN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"


UNLIMITED = Units({}, (), bases={})


class Terms(Struct, frozen=True, kw_only=True):
    quota: int = 1000
    model_units_quota: int = 100
    creating_s: float = 60
    updating_s: float = 60


class World(Struct, frozen=True):
    profiles: InferenceProfiles
    units: ProvisionedThroughput
    store: Store


def text_is_served(model: FoundationModel, _region: str) -> bool:
    return model.converses


@asynccontextmanager
async def world(  # noqa: PLR0913 - each by its name
    folder: Path,
    clock: FakeClock,
    *,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    profile_quota: int = 1000,
    list_without_type: Literal["all", "system_defined"] = "all",
    serves: Callable[[FoundationModel, str], bool] = text_is_served,
    units: Units = UNLIMITED,
    require_declared_units: bool = False,
    custom_models: Sequence[CustomModel] = (),
    location: str | None = None,
) -> AsyncGenerator[World]:
    catalogue = Catalogue(serves=serves, custom_models=custom_models)
    async with open_store(location or folder / "outcrop.sqlite3", clock=clock) as store:
        yield World(
            InferenceProfiles(
                store.inference_profiles,
                catalogue,
                quota=profile_quota,
                list_without_type=list_without_type,
                page_token_key=bytes(32),
                clock=clock,
            ),
            ProvisionedThroughput(
                store.provisioned_model_throughputs,
                ProvisionableModels(
                    catalogue,
                    serves=serves,
                    units=units,
                    require_declared_units=require_declared_units,
                ),
                room=FleetRoom(units, custom_models=custom_models),
                terms=terms,
                page_token_key=bytes(32),
                clock=clock,
            ),
            store,
        )
