import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from outcrop.store.errors import ClientTokenMismatchError, QuotaReachedError
from outcrop.store.inference_profiles import decode, position_of
from outcrop.store.listed import Listed
from outcrop.store.records import ClientToken, InferenceProfileRecord
from outcrop.store.store import Store, open_store
from outcrop.wire.timestamps import to_micros
from tests.clocks import FakeClock
from tests.store.samples import ACCOUNT, REGION, profile

TOKEN = ClientToken(operation="CreateInferenceProfile", token="once", fingerprint="a")


async def create(
    store: Store,
    new: InferenceProfileRecord,
    client_token: ClientToken | None = None,
    quota: int = 1000,
) -> InferenceProfileRecord:
    return await store.inference_profiles.create(
        new, tags={}, client_token=client_token, quota=quota
    )


async def ids(store: Store) -> list[str]:
    page = await store.inference_profiles.page(ACCOUNT, REGION, after=None, limit=1000)
    return [decode(summary).inference_profile_id for summary in page]


def test_a_profile_is_found_as_it_was_created(location: str, clock: FakeClock) -> None:
    new = replace(profile("Ünïcode 名"), description=None)

    async def main() -> tuple[object, object]:
        async with open_store(location, clock=clock) as store:
            created = await create(store, new)
            found = await store.inference_profiles.find(ACCOUNT, REGION, new.inference_profile_id)
            return created, found

    created, found = asyncio.run(main())

    assert created == found == new


def test_another_account_or_region_does_not_find_it(location: str, clock: FakeClock) -> None:
    new = profile()

    async def main() -> list[object]:
        async with open_store(location, clock=clock) as store:
            await create(store, new)
            find = store.inference_profiles.find
            return [
                await find("999999999999", REGION, new.inference_profile_id),
                await find(ACCOUNT, "eu-west-1", new.inference_profile_id),
                await find(ACCOUNT, REGION, "unknown"),
                await store.inference_profiles.page("9" * 12, REGION, after=None, limit=9) or None,
            ]

    assert asyncio.run(main()) == [None] * 4


def test_creation_times_ascend_though_the_clock_stands_still_or_goes_back(
    location: str, clock: FakeClock
) -> None:
    async def main() -> list[InferenceProfileRecord]:
        async with open_store(location, clock=clock) as store:
            first = await create(store, profile())
            second = await create(store, profile())
            clock.advance(hours=-1)
            third = await create(store, profile())
            clock.advance(hours=2)
            return [first, second, third, await create(store, profile())]

    first, second, third, last = asyncio.run(main())

    assert second.created_at == first.created_at + timedelta(microseconds=1)
    assert third.created_at == second.updated_at + timedelta(microseconds=1)
    assert last.created_at == first.created_at + timedelta(hours=1)


def test_a_deleted_profile_is_gone_and_cannot_be_deleted_again(
    location: str, clock: FakeClock
) -> None:
    new = profile()

    async def main() -> list[object]:
        async with open_store(location, clock=clock) as store:
            delete = store.inference_profiles.delete
            before = await delete(ACCOUNT, REGION, new.inference_profile_id)
            await create(store, new)
            await create(store, profile())
            elsewhere = await delete(ACCOUNT, "eu-west-1", new.inference_profile_id)
            once = await delete(ACCOUNT, REGION, new.inference_profile_id)
            again = await delete(ACCOUNT, REGION, new.inference_profile_id)
            return [before, elsewhere, once, again, len(await ids(store))]

    assert asyncio.run(main()) == [False, False, True, False, 1]


def test_the_quota_counts_what_lives(location: str, clock: FakeClock) -> None:
    new = profile()

    async def main() -> list[str]:
        async with open_store(location, clock=clock) as store:
            await create(store, new, quota=2)
            await create(store, profile(), quota=2)
            with pytest.raises(QuotaReachedError):
                await create(store, profile(), quota=2)
            await store.inference_profiles.delete(ACCOUNT, REGION, new.inference_profile_id)
            await create(store, profile(), quota=2)
            await create(store, replace(profile(), region="eu-west-1"), quota=2)
            with pytest.raises(QuotaReachedError):
                await create(store, profile(), quota=2)
            return await ids(store)

    assert len(asyncio.run(main())) == 2


def test_of_many_at_once_as_many_are_created_as_the_quota_allows(
    location: str, clock: FakeClock
) -> None:
    async def attempt(store: Store) -> bool:
        try:
            await create(store, profile(), quota=7)
        except QuotaReachedError:
            return False
        return True

    async def main() -> tuple[int, int]:
        async with (
            open_store(location, clock=clock) as one,
            open_store(location, clock=clock) as other,
        ):
            async with asyncio.TaskGroup() as group:
                attempts = [group.create_task(attempt(store)) for store in (one, other) * 15]
            return sum(attempt.result() for attempt in attempts), len(await ids(one))

    assert asyncio.run(main()) == (7, 7)


def test_a_repeated_client_token_gives_the_first_record(location: str, clock: FakeClock) -> None:
    first = profile()

    async def main() -> tuple[InferenceProfileRecord, list[str]]:
        async with open_store(location, clock=clock) as store:
            await create(store, first, TOKEN, quota=1)
            clock.advance(hours=23)
            again = await create(store, profile(), TOKEN, quota=1)
            return again, await ids(store)

    again, stored = asyncio.run(main())

    assert again == first
    assert stored == [first.inference_profile_id]


def test_a_repeated_client_token_gives_the_first_record_even_when_it_is_deleted(
    location: str, clock: FakeClock
) -> None:
    first = profile()

    async def main() -> tuple[InferenceProfileRecord, list[str]]:
        async with open_store(location, clock=clock) as store:
            await create(store, first, TOKEN)
            await store.inference_profiles.delete(ACCOUNT, REGION, first.inference_profile_id)
            return await create(store, profile(), TOKEN), await ids(store)

    assert asyncio.run(main()) == (first, [])


def test_a_client_token_with_other_parameters_is_refused(location: str, clock: FakeClock) -> None:
    other = ClientToken(operation=TOKEN.operation, token=TOKEN.token, fingerprint="b")

    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await create(store, profile(), TOKEN)
            await create(store, profile(), other)

    with pytest.raises(ClientTokenMismatchError):
        asyncio.run(main())


def test_a_client_token_is_forgotten_after_a_day(location: str, clock: FakeClock) -> None:
    other = ClientToken(operation=TOKEN.operation, token=TOKEN.token, fingerprint="b")

    async def main() -> list[str]:
        async with open_store(location, clock=clock) as store:
            await create(store, profile(), TOKEN)
            clock.advance(hours=24, seconds=1)
            await create(store, profile(), other)
            return await ids(store)

    assert len(asyncio.run(main())) == 2


def test_a_client_token_used_many_times_at_once_creates_one(
    location: str, clock: FakeClock
) -> None:
    async def main() -> tuple[set[str], list[str]]:
        async with (
            open_store(location, clock=clock) as one,
            open_store(location, clock=clock) as other,
        ):
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(create(store, profile(), TOKEN)) for store in (one, other) * 8
                ]
            return {task.result().inference_profile_id for task in tasks}, await ids(other)

    created, stored = asyncio.run(main())

    assert len(created) == 1
    assert list(created) == stored


def test_pages_follow_each_other_in_order_of_time_and_arn(location: str, clock: FakeClock) -> None:
    async def main() -> list[list[Listed]]:
        async with open_store(location, clock=clock) as store:
            for _ in range(7):
                await create(store, profile())
            pages = []
            after = None
            while page := await store.inference_profiles.page(
                ACCOUNT, REGION, after=after, limit=3
            ):
                pages.append(page)
                after = position_of(page[-1])
            return pages

    pages = asyncio.run(main())

    assert [len(page) for page in pages] == [3, 3, 1]
    assert len({summary for page in pages for summary in page}) == 7


def test_the_arn_decides_where_a_page_starts_within_a_microsecond(
    location: str, clock: FakeClock
) -> None:
    async def main() -> list[int]:
        async with open_store(location, clock=clock) as store:
            created = await create(store, profile())
            micros, arn = to_micros(created.updated_at), created.inference_profile_arn
            afters = [(micros, "arn:a"), (micros, arn), (micros, "arn:z"), (micros - 1, "arn:z")]
            page = store.inference_profiles.page
            return [len(await page(ACCOUNT, REGION, after=each, limit=1)) for each in afters]

    assert asyncio.run(main()) == [1, 0, 0, 1]
