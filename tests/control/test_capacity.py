"""What is InService is really held: never more than there is, whoever buys, wherever it stops."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outcrop.fleet.config import ModelUnitsConfig
from outcrop.fleet.units import Measured, ServerModels, Units, units_of
from outcrop.iam.caller import Caller
from outcrop.store.catalogue import CustomModel
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock import (
    CreateProvisionedModelThroughputRequest,
    DeleteProvisionedModelThroughputRequest,
    GetProvisionedModelThroughputRequest,
    GetProvisionedModelThroughputResponse,
    ListProvisionedModelThroughputsRequest,
    UpdateProvisionedModelThroughputRequest,
)
from tests.clocks import FakeClock
from tests.control.world import CALLER, Terms, World, world
from tests.store.conftest import location, postgres

__all__ = ["location", "postgres"]

LITE, MICRO = "amazon.nova-lite-v1:0", "amazon.nova-micro-v1:0"
CUSTOM = [
    CustomModel(custom_model_id=f"abcdefghij0{n}", custom_model_name=name, base_model_id=LITE)
    for n, name in enumerate(("tuned-one", "tuned-two"))
]
BASES = {model.custom_model_name: model.base_model_id for model in CUSTOM}
CALLERS = [CALLER, replace(CALLER, account_id="9" * 12)]
AT_ONCE = Terms(creating_s=0, updating_s=0)


def fleet(region: str | None = "us-east-1", **servers: dict[str, int]) -> Units:
    tables = [
        ModelUnitsConfig(model=m, input_tokens_per_minute=1, output_tokens_per_minute=1)
        for m in (LITE, MICRO)
    ]
    rows = [
        ServerModels(name=name, region=region, models=frozenset(held), model_units=held)
        for name, held in servers.items()
    ]
    return units_of(tables, rows, Measured(), bases=BASES)


async def buy(opened: World, model: str, number: int, *, caller: Caller = CALLER) -> str:
    request = CreateProvisionedModelThroughputRequest(
        provisioned_model_name=f"units-{random.getrandbits(64):x}",
        model_id=model,
        model_units=number,
    )
    bought = await opened.units.create_provisioned_model_throughput(caller, request)
    return bought.provisioned_model_arn


async def get(
    opened: World, arn: str, caller: Caller = CALLER
) -> GetProvisionedModelThroughputResponse:
    request = GetProvisionedModelThroughputRequest(provisioned_model_id=arn)
    return await opened.units.get_provisioned_model_throughput(caller, request)


async def swap(opened: World, arn: str, model: str, caller: Caller = CALLER) -> None:
    request = UpdateProvisionedModelThroughputRequest(
        provisioned_model_id=arn, desired_model_id=model
    )
    await opened.units.update_provisioned_model_throughput(caller, request)


async def delete(opened: World, arn: str, caller: Caller = CALLER) -> None:
    request = DeleteProvisionedModelThroughputRequest(provisioned_model_id=arn)
    await opened.units.delete_provisioned_model_throughput(caller, request)


def test_what_is_not_free_is_failed_with_the_numbers_and_deleting_frees_at_once(
    tmp_path: Path,
) -> None:
    async def main() -> list[Any]:
        units = fleet(gpu={LITE: 6})
        async with world(tmp_path, FakeClock(), terms=AT_ONCE, units=units) as opened:
            first = await buy(opened, f"{LITE}:24k", 3)
            too_much = await get(opened, await buy(opened, LITE, 4, caller=CALLER))
            fits = await get(opened, await buy(opened, f"{LITE}:300k", 3))
            await delete(opened, first)
            again = await get(opened, await buy(opened, LITE, 3))
            return [too_much, fits.status, again.status, dict(await opened.store.capacity.held())]

    too_much, fits, again, held = asyncio.run(main())

    assert (too_much.status, fits, again) == ("Failed", "InService", "InService")
    assert too_much.failure_message == (
        f"4 model units of {LITE} requested in us-east-1; its model servers hold 6, of which 3 are"
        " reserved and 3 are free."
    )
    assert held == {("us-east-1", f"{LITE}:300k"): 3, ("us-east-1", LITE): 3}


def test_what_other_models_take_of_the_same_servers_is_said(tmp_path: Path) -> None:
    async def main() -> str | None:
        units = fleet(gpu={LITE: 8, MICRO: 4})
        async with world(tmp_path, FakeClock(), terms=AT_ONCE, units=units) as opened:
            await buy(opened, MICRO, 2)
            return (await get(opened, await buy(opened, LITE, 5))).failure_message

    assert asyncio.run(main()) == (
        f"5 model units of {LITE} requested in us-east-1; its model servers hold 8, of which 0 are"
        " reserved and 4 are free. The rest is taken by what shares them."
    )


def test_without_a_word_units_are_not_limited_and_can_be_required(tmp_path: Path) -> None:
    async def main() -> list[GetProvisionedModelThroughputResponse]:
        found = []
        for required in (False, True):
            async with world(
                tmp_path, FakeClock(), terms=AT_ONCE, require_declared_units=required
            ) as opened:
                found.append(await get(opened, await buy(opened, LITE, 99)))
        return found

    free, required = asyncio.run(main())

    assert (free.status, required.status) == ("InService", "Failed")
    assert required.failure_message == (
        f"No model server says how many model units of {LITE} it sustains: declare its"
        f" model_units, or run `outcrop calibrate {LITE}`."
    )


def test_a_swap_moves_the_units_and_one_that_does_not_fit_gives_them_back(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        units = fleet(one={"tuned-one": 4}, two={"tuned-two": 3})
        seen: list[Any] = []
        async with world(
            tmp_path, FakeClock(), terms=AT_ONCE, units=units, custom_models=CUSTOM
        ) as opened:
            for number in (3, 4):
                arn = await buy(opened, "tuned-one", number)
                await opened.units.watch()
                before = dict(await opened.store.capacity.held())
                await swap(opened, arn, "tuned-two")
                after = await get(opened, arn)
                seen += [before, after.status, dict(await opened.store.capacity.held())]
                await delete(opened, arn)
            return [*seen, dict(await opened.store.capacity.held())]

    one, two = (("us-east-1", f"{LITE}/{model.custom_model_id}") for model in CUSTOM)
    assert asyncio.run(main()) == [
        {one: 3},
        "InService",
        {two: 3},
        {one: 4},
        "Failed",
        {},
        {},
    ]


def test_a_fleet_that_shrank_keeps_what_it_acknowledged_and_sells_no_more(tmp_path: Path) -> None:
    def settings(units: Units) -> dict[str, Any]:
        return {"terms": AT_ONCE, "units": units, "custom_models": CUSTOM}

    async def main() -> list[str]:
        before = fleet(gpu={"tuned-one": 6, "tuned-two": 6})
        after = fleet(gpu={"tuned-one": 4, "tuned-two": 4})
        async with world(tmp_path, FakeClock(), **settings(before)) as opened:
            arn = await buy(opened, "tuned-one", 5)
            await opened.units.watch()
        async with world(tmp_path, FakeClock(), **settings(after)) as opened:
            kept = (await get(opened, arn)).status
            new = (await get(opened, await buy(opened, "tuned-two", 1))).status
            await swap(opened, arn, "tuned-two")
            return [kept, new, (await get(opened, arn)).status]

    assert asyncio.run(main()) == ["InService", "Failed", "InService"]


SUPPLY = {"one": {LITE: 5, "tuned-one": 5, MICRO: 10}, "two": {LITE: 2, "tuned-two": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("region", ["us-east-1", None])
def test_of_many_that_buy_at_once_as_many_succeed_as_there_is_room_for(
    location: str, tmp_path: Path, region: str | None
) -> None:
    units = fleet(region, one={LITE: 7})
    elsewhere = [replace(caller, region="eu-west-1") for caller in CALLERS]
    callers = CALLERS if region else [*CALLERS, *elsewhere]

    async def main() -> int:
        async with (
            world(tmp_path, FakeClock(), terms=AT_ONCE, units=units, location=location) as one,
            world(tmp_path, FakeClock(), terms=AT_ONCE, units=units, location=location) as two,
            asyncio.TaskGroup() as group,
        ):
            tasks = [
                group.create_task(bought(opened, caller))
                for opened in (one, two)
                for caller in callers
                for _ in range(4)
            ]
        return sum([task.result() for task in tasks])

    async def bought(opened: World, caller: Caller) -> bool:
        arn = await buy(opened, LITE, 1, caller=caller)
        return (await get(opened, arn, caller)).status == "InService"

    assert asyncio.run(main()) == 7


class Customer:
    """Buys, swaps and deletes at random."""

    def __init__(self, opened: World, caller: Caller, chance: random.Random) -> None:
        self._opened = opened
        self._caller = caller
        self._chance = chance
        self._arns: list[str] = []

    async def shop(self) -> None:
        for _ in range(12):
            # Not InService yet, or any more.
            with suppress(AwsError):
                await self._act()
        await self._opened.units.watch()

    async def _act(self) -> None:
        opened, chance, arns = self._opened, self._chance, self._arns
        what = chance.random()
        if what < 0.5 or not arns:
            model = chance.choice([LITE, f"{LITE}:24k", MICRO, "tuned-one", "tuned-two"])
            arns.append(await buy(opened, model, chance.randint(1, 3), caller=self._caller))
        elif what < 0.7:
            model = chance.choice(["tuned-one", "tuned-two"])
            await swap(opened, chance.choice(arns), model, self._caller)
        else:
            await delete(opened, arns.pop(chance.randrange(len(arns))), self._caller)


async def shop(one: World, two: World, units: Units, chance: random.Random) -> None:
    """All customers at once, some cut off half way, with a look at what is held all the time."""
    async with asyncio.TaskGroup() as group:
        shopping = [
            group.create_task(Customer(opened, caller, chance).shop())
            for opened in (one, two)
            for caller in CALLERS
        ]
        for _ in range(60):
            assert_it_fits(units, dict(await one.store.capacity.held()))
            await asyncio.sleep(0)
        for task in shopping[: chance.randint(0, 2)]:
            task.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_what_is_held_is_what_is_in_service_and_fits(
    location: str, tmp_path: Path, seed: int
) -> None:
    units = fleet("us-east-1", **SUPPLY)
    chance = random.Random(seed)
    settings: dict[str, Any] = {"units": units, "custom_models": CUSTOM, "location": location}

    async def main() -> int:
        most = 0
        for _ in range(3):
            async with (
                world(tmp_path, FakeClock(), terms=AT_ONCE, **settings) as one,
                world(tmp_path, FakeClock(), terms=AT_ONCE, **settings) as two,
            ):
                await shop(one, two, units, chance)
                await one.units.watch()
                held = dict(await one.store.capacity.held())
                assert_it_fits(units, held)
                assert held == await sold(one)
                most = max(most, sum(held.values()))
        return most

    assert asyncio.run(main()) > 0


async def sold(opened: World) -> dict[tuple[str, str], int]:
    """By the listings: what InService and Updating rows say that they hold."""
    total = Counter[tuple[str, str]]()
    for caller in CALLERS:
        listed = await opened.units.list_provisioned_model_throughputs(
            caller, ListProvisionedModelThroughputsRequest()
        )
        summaries = msgspec.json.encode(listed.provisioned_model_summaries)
        for summary in msgspec.json.decode(summaries):
            if summary["status"] in {"InService", "Updating"}:
                total["us-east-1", summary["modelArn"].partition("/")[2]] += summary["modelUnits"]
    return dict(total)


def assert_it_fits(units: Units, held: dict[tuple[str, str], int]) -> None:
    names = {model.custom_model_id: model.custom_model_name for model in CUSTOM}
    by_model = Counter[tuple[str, str]]()
    for (region, model), number in held.items():
        base, _, custom = model.partition("/")
        by_model[region, names.get(custom, base.removesuffix(":24k"))] += number
    for place in by_model:
        assert units.lacking(place, by_model) == 0, held
