import asyncio

import pytest

from outcrop.store.errors import ResourceGoneError
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock
from tests.store.samples import profile, throughput

PROFILE = profile()
THROUGHPUT = throughput()
ARNS = [PROFILE.inference_profile_arn, THROUGHPUT.provisioned_model_arn]


async def create(store: Store) -> None:
    await store.inference_profiles.create(PROFILE, tags={}, client_token=None, quota=9)
    await store.provisioned_model_throughputs.create(
        THROUGHPUT, tags={}, client_token=None, quota=9
    )


@pytest.mark.parametrize("arn", ARNS)
def test_a_policy_is_kept_as_written_until_it_is_deleted(
    location: str, clock: FakeClock, arn: str
) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await create(store)
            await store.resource_policies.put(arn, "{ }")
            await store.resource_policies.put(arn, "{\n}")
            assert await store.resource_policies.find(arn) == "{\n}"
            assert await store.resource_policies.arns() == {arn}
            assert await store.resource_policies.delete(arn)
            assert not await store.resource_policies.delete(arn)
            assert await store.resource_policies.find(arn) is None

    asyncio.run(main())


def test_every_change_is_one_that_servers_look_for(location: str, clock: FakeClock) -> None:
    async def main() -> list[int]:
        async with open_store(location, clock=clock) as store:
            await create(store)
            seen = [await store.identities.version()]
            await store.resource_policies.put(ARNS[0], "{}")
            seen.append(await store.identities.version())
            await store.resource_policies.delete(ARNS[0])
            seen.append(await store.identities.version())
            await store.resource_policies.delete(ARNS[0])
            seen.append(await store.identities.version())
            return [version - seen[0] for version in seen]

    assert asyncio.run(main()) == [0, 1, 2, 2]


def test_a_policy_goes_with_its_resource(location: str, clock: FakeClock) -> None:
    async def main() -> tuple[frozenset[str], int]:
        async with open_store(location, clock=clock) as store:
            await create(store)
            for arn in ARNS:
                await store.resource_policies.put(arn, "{}")
            before = await store.identities.version()
            owner = PROFILE.account_id, PROFILE.region
            await store.inference_profiles.delete(*owner, PROFILE.inference_profile_id)
            units = store.provisioned_model_throughputs
            record = await units.find(
                THROUGHPUT.account_id,
                THROUGHPUT.region,
                provisioned_model_id=THROUGHPUT.provisioned_model_id,
            )
            assert record
            await units.delete(record)
            return await store.resource_policies.arns(), await store.identities.version() - before

    assert asyncio.run(main()) == (frozenset(), 2)


def test_what_is_not_there_takes_no_policy(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            for arn in [*ARNS, "arn:aws:bedrock:us-east-1:123456789012:guardrail/a", "no ARN"]:
                with pytest.raises(ResourceGoneError):
                    await store.resource_policies.put(arn, "{}")

    asyncio.run(main())
