import asyncio
import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from outcrop.store.errors import ClientTokenMismatchError, NameTakenError, QuotaReachedError
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.records import (
    ClientToken,
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from tests.clocks import FakeClock
from tests.store.opened import create, open_throughputs
from tests.store.samples import ACCOUNT, REGION, throughput


async def names(throughputs: ProvisionedModelThroughputs) -> list[str]:
    page = await throughputs.page(
        ACCOUNT,
        REGION,
        filters=ProvisionedModelThroughputFilters(),
        descending=False,
        after=None,
        limit=1000,
    )
    return [json.loads(summary)["provisionedModelName"] for summary in page.rows]


def test_it_is_found_by_name_and_by_id(location: str, clock: FakeClock) -> None:
    new = replace(
        throughput("mine"),
        commitment_duration="OneMonth",
        commitment_expiration_time=clock() + timedelta(days=30),
        failure_message="Not enough room",
        due_at=clock() + timedelta(minutes=1),
    )

    async def main() -> list[object]:
        async with open_throughputs(location, clock) as throughputs:
            find = throughputs.find
            return [
                await create(throughputs, new),
                await find(ACCOUNT, REGION, name="mine"),
                await find(ACCOUNT, REGION, provisioned_model_id=new.provisioned_model_id),
                await find(ACCOUNT, REGION, name=new.provisioned_model_id),
                await find(ACCOUNT, REGION, provisioned_model_id="mine"),
                await find("9" * 12, REGION, name="mine"),
            ]

    created, by_name, by_id, *others = asyncio.run(main())

    assert created == by_name == by_id == replace(new, version=1)
    assert others == [None, None, None]


def test_a_name_is_taken_once_per_account_and_region(location: str, clock: FakeClock) -> None:
    async def main() -> list[str]:
        async with open_throughputs(location, clock) as throughputs:
            mine = await create(throughputs, throughput("mine"))
            with pytest.raises(NameTakenError):
                await create(throughputs, throughput("mine"))
            await create(throughputs, throughput("Mine"))
            await create(throughputs, replace(throughput("mine"), region="eu-west-1"))
            await throughputs.delete(mine)
            await create(throughputs, throughput("mine"))
            return await names(throughputs)

    assert asyncio.run(main()) == ["Mine", "mine"]


def test_of_many_that_want_a_name_at_once_one_gets_it(location: str, clock: FakeClock) -> None:
    async def attempt(throughputs: ProvisionedModelThroughputs) -> bool:
        try:
            await create(throughputs, throughput("mine"))
        except NameTakenError:
            return False
        return True

    async def main() -> int:
        async with (
            open_throughputs(location, clock) as one,
            open_throughputs(location, clock) as other,
            asyncio.TaskGroup() as group,
        ):
            attempts = [group.create_task(attempt(each)) for each in (one, other) * 8]
        return sum(attempt.result() for attempt in attempts)

    assert asyncio.run(main()) == 1


def test_quota_and_client_token_hold_here_too(location: str, clock: FakeClock) -> None:
    token = ClientToken(operation="Create", token="once", fingerprint="a")
    other = ClientToken(operation="Create", token="once", fingerprint="b")
    first = throughput("mine")

    async def main() -> ProvisionedModelThroughputRecord:
        async with open_throughputs(location, clock) as throughputs:
            await throughputs.create(first, tags={}, client_token=token, quota=1)
            with pytest.raises(QuotaReachedError):
                await throughputs.create(throughput(), tags={}, client_token=None, quota=1)
            with pytest.raises(ClientTokenMismatchError):
                await throughputs.create(throughput(), tags={}, client_token=other, quota=1)
            return await throughputs.create(
                throughput("mine"), tags={}, client_token=token, quota=1
            )

    assert asyncio.run(main()).provisioned_model_id == first.provisioned_model_id


def test_a_replaced_record_has_the_next_version(location: str, clock: FakeClock) -> None:
    async def main() -> list[object]:
        async with open_throughputs(location, clock) as throughputs:
            before = await create(throughputs, throughput("mine"))
            after = replace(before, provisioned_model_name="yours", status="InService")
            replaced = await throughputs.replace(before, after)
            return [
                replaced,
                after,
                await throughputs.find(ACCOUNT, REGION, name="yours"),
                await throughputs.find(ACCOUNT, REGION, name="mine"),
            ]

    replaced, after, found, old = asyncio.run(main())

    assert replaced is True
    assert isinstance(after, ProvisionedModelThroughputRecord)
    assert found == replace(after, version=2)
    assert old is None


def test_a_record_changed_meanwhile_is_neither_replaced_nor_deleted(
    location: str, clock: FakeClock
) -> None:
    async def main() -> list[object]:
        async with open_throughputs(location, clock) as throughputs:
            before = await create(throughputs, throughput("mine"))
            await throughputs.replace(before, replace(before, status="InService"))
            unknown = replace(throughput(), version=1)
            return [
                await throughputs.replace(before, replace(before, status="Failed")),
                await throughputs.delete(before),
                await throughputs.replace(unknown, unknown),
                await throughputs.delete(unknown),
                await throughputs.delete(replace(unknown, region="eu-west-1")),
                await names(throughputs),
            ]

    assert asyncio.run(main()) == [False, False, False, False, False, ["mine"]]


def test_a_record_is_not_renamed_to_a_taken_name(location: str, clock: FakeClock) -> None:
    async def main() -> list[str]:
        async with open_throughputs(location, clock) as throughputs:
            await create(throughputs, throughput("mine"))
            yours = await create(throughputs, throughput("yours"))
            with pytest.raises(NameTakenError):
                await throughputs.replace(yours, replace(yours, provisioned_model_name="mine"))
            return await names(throughputs)

    assert asyncio.run(main()) == ["mine", "yours"]


def test_of_changes_made_at_once_to_a_record_one_is_kept(location: str, clock: FakeClock) -> None:
    async def main() -> tuple[int, int]:
        async with (
            open_throughputs(location, clock) as one,
            open_throughputs(location, clock) as other,
        ):
            before = await create(one, throughput())
            after = replace(before, status="InService")
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(change)
                    for each in (one, other) * 4
                    for change in (each.replace(before, after), each.delete(before))
                ]
            return sum(task.result() for task in tasks), len(await names(one))

    kept, left = asyncio.run(main())

    assert kept == 1
    assert left <= 1


def test_what_is_due_comes_longest_overdue_first(location: str, clock: FakeClock) -> None:
    async def main() -> list[object]:
        async with open_throughputs(location, clock) as throughputs:
            nothing = await throughputs.next_due()
            for name, minutes in (("second", 2), ("first", 1), ("later", 10)):
                due_at = clock() + timedelta(minutes=minutes)
                await create(throughputs, replace(throughput(name), due_at=due_at))
            await create(throughputs, throughput("never"))
            elsewhere = replace(throughput("third"), account_id="9" * 12)
            await create(throughputs, replace(elsewhere, due_at=clock() + timedelta(minutes=3)))
            due = await throughputs.due(clock() + timedelta(minutes=3), 9)
            (one,) = await throughputs.due(clock() + timedelta(minutes=3), 1)
            await throughputs.replace(one, replace(one, due_at=None))
            return [
                nothing,
                [record.provisioned_model_name for record in due],
                await throughputs.next_due(),
            ]

    nothing, due, next_due = asyncio.run(main())

    assert nothing is None
    assert due == ["first", "second", "third"]
    assert next_due == clock() + timedelta(minutes=2)


def test_two_servers_see_each_others_changes(location: str, clock: FakeClock) -> None:
    async def main() -> list[object]:
        async with (
            open_throughputs(location, clock) as one,
            open_throughputs(location, clock) as other,
        ):
            before = await names(other)
            created = await create(one, throughput("mine"))
            seen = await names(other)
            await other.delete(created)
            return [before, seen, await names(one)]

    assert asyncio.run(main()) == [[], ["mine"], []]
