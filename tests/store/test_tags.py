import asyncio

import pytest

from outcrop.store.errors import ResourceGoneError, TooManyTagsError
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock
from tests.store.samples import ACCOUNT, REGION, profile, throughput

PROFILE = profile()
THROUGHPUT = throughput()
ARNS = [PROFILE.inference_profile_arn, THROUGHPUT.provisioned_model_arn]
UNKNOWN = [
    profile().inference_profile_arn,
    throughput().provisioned_model_arn,
    "arn:aws:bedrock:eu-north-1:123456789012:provisioned-model/abcdefghijkl",
    "arn:aws:bedrock:us-east-1:123456789012:guardrail/abcdefghijkl",
    "no ARN",
]


async def create(store: Store, **tags: str) -> None:
    await store.inference_profiles.create(PROFILE, tags=tags, client_token=None, quota=9)
    await store.provisioned_model_throughputs.create(
        THROUGHPUT, tags=tags, client_token=None, quota=9
    )


@pytest.mark.parametrize("arn", ARNS)
def test_tags_given_at_creation_are_listed_by_key(
    location: str, clock: FakeClock, arn: str
) -> None:
    async def main() -> object:
        async with open_store(location, clock=clock) as store:
            await create(store, b="2", B="3", a="")
            return await store.tags.of(arn)

    assert asyncio.run(main()) == [("B", "3"), ("a", ""), ("b", "2")]


@pytest.mark.parametrize("arn", ARNS)
def test_tags_are_added_changed_and_removed(location: str, clock: FakeClock, arn: str) -> None:
    async def main() -> object:
        async with open_store(location, clock=clock) as store:
            await create(store, a="1", b="2")
            await store.tags.put(arn, {"b": "two", "c": "3"})
            await store.tags.remove(arn, ["a", "not there"])
            return await store.tags.of(arn)

    assert asyncio.run(main()) == [("b", "two"), ("c", "3")]


def test_no_more_tags_than_the_limit_are_taken(location: str, clock: FakeClock) -> None:
    async def main() -> object:
        async with open_store(location, clock=clock) as store:
            await create(store, a="1", b="2")
            await store.tags.put(ARNS[0], {"b": "3", "c": "4"}, limit=3)
            with pytest.raises(TooManyTagsError):
                await store.tags.put(ARNS[0], {"a": "5", "d": "6"}, limit=3)
            return await store.tags.of(ARNS[0])

    assert asyncio.run(main()) == [("a", "1"), ("b", "3"), ("c", "4")]


@pytest.mark.parametrize("arn", UNKNOWN)
def test_what_is_not_there_has_no_tags(location: str, clock: FakeClock, arn: str) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await create(store)
            with pytest.raises(ResourceGoneError):
                await store.tags.of(arn)
            with pytest.raises(ResourceGoneError):
                await store.tags.put(arn, {"a": "1"})
            with pytest.raises(ResourceGoneError):
                await store.tags.remove(arn, ["a"])

    asyncio.run(main())


def test_tags_go_with_their_resource(location: str, clock: FakeClock) -> None:
    async def main() -> list[object]:
        async with open_store(location, clock=clock) as store:
            await create(store, a="1")
            await store.inference_profiles.delete(ACCOUNT, REGION, PROFILE.inference_profile_id)
            bought = await store.provisioned_model_throughputs.find(
                ACCOUNT, REGION, provisioned_model_id=THROUGHPUT.provisioned_model_id
            )
            assert bought
            await store.provisioned_model_throughputs.delete(bought)
            await create(store)
            return [await store.tags.of(arn) for arn in ARNS]

    assert asyncio.run(main()) == [[], []]
