import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from msgspec.structs import replace

from outcrop.store.listed import Listed, Page
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.records import (
    ProvisionedModelStatus,
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from outcrop.store.throughput_rows import encode, position_of
from outcrop.wire.timestamps import to_micros
from tests.clocks import FakeClock
from tests.store.opened import create, open_throughputs
from tests.store.samples import ACCOUNT, REGION, throughput

Filters = ProvisionedModelThroughputFilters
Record = ProvisionedModelThroughputRecord

STATUSES: Sequence[ProvisionedModelStatus] = ("Creating", "InService", "Updating", "Failed")
MODELS = [f"arn:aws:bedrock:us-east-1::foundation-model/m{number}" for number in range(3)]


async def page(
    throughputs: ProvisionedModelThroughputs,
    filters: Filters = Filters(),  # noqa: B008 -- frozen
    *,
    descending: bool = False,
    after: int | None = None,
    limit: int = 1000,
) -> Page:
    return await throughputs.page(
        ACCOUNT, REGION, filters=filters, descending=descending, after=after, limit=limit
    )


async def walk(
    throughputs: ProvisionedModelThroughputs, filters: Filters, *, descending: bool, limit: int
) -> list[Listed]:
    """All pages, one after the other."""
    found: list[Listed] = []
    after = None
    while True:
        some = await page(throughputs, filters, descending=descending, after=after, limit=limit)
        assert len(some.rows) <= limit
        found += some.rows
        after = some.goes_on_after
        if after is None:
            return found


def expected(records: Sequence[Record], filters: Filters, *, descending: bool) -> list[Listed]:
    """The same without an index."""
    ordered = sorted(records, key=lambda record: record.creation_time, reverse=descending)
    return [encode(record)[0] for record in ordered if _matches(record, filters)]


def _matches(record: Record, filters: Filters) -> bool:
    return (
        filters.status in {None, record.status}
        and filters.model_arn in {None, record.model_arn}
        and (filters.name_contains or "") in record.provisioned_model_name
        and (filters.created_after is None or record.creation_time > filters.created_after)
        and (filters.created_before is None or record.creation_time < filters.created_before)
    )


async def fill(
    throughputs: ProvisionedModelThroughputs, clock: FakeClock, choice: random.Random, count: int
) -> list[Record]:
    """Creates, and changes or deletes some of what it created, long ago or lately."""
    records: list[Record] = []
    for number in range(count):
        clock.advance(seconds=choice.choice([0, 1]))
        new = replace(throughput(_name(choice, number)), model_arn=choice.choice(MODELS))
        records.append(await create(throughputs, new))
        chance = choice.random()
        if chance < 0.6:
            index = choice.randrange(len(records))
            before = records[index]
            after = replace(
                before,
                status=choice.choice(STATUSES),
                model_arn=choice.choice([before.model_arn, MODELS[0]]),
                provisioned_model_name=choice.choice(
                    [before.provisioned_model_name, _name(choice, count + number)]
                ),
            )
            assert await throughputs.replace(before, after)
            records[index] = replace(after, version=before.version + 1)
        elif chance < 0.8:
            assert await throughputs.delete(records.pop(choice.randrange(len(records))))
    return records


def _name(choice: random.Random, number: int) -> str:
    letters = "ab-" if choice.random() < 0.9 else "abcXYZ_9-"
    return "".join(choice.choices(letters, k=choice.randint(1, 9))) + f"{number:02}"


def _random_filters(choice: random.Random, records: Sequence[Record]) -> Iterator[Filters]:
    parts = ["a", "Z", "Q", "-", "ab", "-a", "ba-", "abab", "b-a-b", "0", "07", "0000", "a-bb-a"]
    for part, status, model_arn in product(
        [*parts, choice.choice(records).provisioned_model_name], (None, "Failed"), (None, MODELS[1])
    ):
        after, before = (choice.choice(records).creation_time for _ in range(2))
        yield Filters(
            name_contains=choice.choice([part, part, None]),
            status=choice.choice(STATUSES) if status else None,
            model_arn=model_arn,
            created_after=choice.choice([None, None, after]),
            created_before=choice.choice([None, None, before]),
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block_bits", "looked_at_most", "seed"),
    [(3, 8_192, 1), (5, 8_192, 2), (6, 8_192, 3), (12, 8_192, 4), (3, 1, 5), (4, 5, 6), (6, 3, 7)],
)
def test_pages_hold_what_a_plain_search_finds(
    location: str, clock: FakeClock, block_bits: int, looked_at_most: int, seed: int
) -> None:
    choice = random.Random(seed)

    async def main() -> None:
        async with open_throughputs(
            location, clock, block_bits=block_bits, looked_at_most=looked_at_most
        ) as throughputs:
            records = await fill(throughputs, clock, choice, 150)
            for filters in _random_filters(choice, records):
                for descending in (False, True):
                    limit = choice.choice([1, 2, 7, 1000])
                    found = await walk(throughputs, filters, descending=descending, limit=limit)
                    assert found == expected(records, filters, descending=descending), filters

    asyncio.run(main())


@pytest.mark.parametrize("name_contains", [None, "throughput"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_pages_neither_repeat_nor_lose_what_was_there_throughout(
    location: str, clock: FakeClock, order: str, name_contains: str | None
) -> None:
    filters = Filters(name_contains=name_contains)

    async def main() -> tuple[set[int], list[int]]:
        async with open_throughputs(location, clock, block_bits=3) as throughputs:
            records = [await create(throughputs, throughput()) for _ in range(30)]
            goers, stayers = records[::3], records[1::3] + records[2::3]
            seen: list[int] = []
            after = None
            while not seen or after is not None:
                some = await page(
                    throughputs, filters, descending=order == "descending", after=after, limit=4
                )
                after = some.goes_on_after
                seen += map(position_of, some.rows)
                if goers:
                    await throughputs.delete(goers.pop())
                    await throughputs.delete(goers.pop(0))
                    await create(throughputs, throughput())
            return {to_micros(record.creation_time) for record in stayers}, seen

    throughout, seen = asyncio.run(main())

    assert throughout <= set(seen)
    assert len(seen) == len(set(seen))


def test_the_bounds_of_a_time_range_are_not_in_it(location: str, clock: FakeClock) -> None:
    async def main() -> tuple[list[Record], list[Listed]]:
        async with open_throughputs(location, clock) as throughputs:
            records = [await create(throughputs, throughput()) for _ in range(4)]
            filters = Filters(
                created_after=records[0].creation_time, created_before=records[3].creation_time
            )
            return records, (await page(throughputs, filters)).rows

    records, found = asyncio.run(main())

    assert found == expected(records[1:3], Filters(), descending=False)


@pytest.mark.parametrize("part", ["%", "_", "a_b", "A", "\\", "'", '"', "é", "*", "$1", "?"])
def test_a_part_of_a_name_is_taken_literally(location: str, clock: FakeClock, part: str) -> None:
    async def main() -> list[Listed]:
        async with open_throughputs(location, clock, block_bits=3) as throughputs:
            for number in range(20):
                await create(throughputs, throughput(f"aXb-{number}"))
            return (await page(throughputs, Filters(name_contains=part))).rows

    assert asyncio.run(main()) == []


def test_another_accounts_names_are_not_found(location: str, clock: FakeClock) -> None:
    async def main() -> tuple[int, int, int]:
        async with open_throughputs(location, clock, block_bits=3) as throughputs:
            for number in range(20):
                await create(throughputs, throughput(f"mine-{number}"))
                other = replace(throughput(f"mine-{number}"), account_id="9" * 12)
                await create(throughputs, other)
            mine = (await page(throughputs, Filters(name_contains="mine"))).rows
            none = await throughputs.page(
                "8" * 12, REGION, filters=Filters(), descending=True, after=None, limit=9
            )
            return len(mine), len({summary.split(":")[5] for summary in mine}), len(none.rows)

    assert asyncio.run(main()) == (20, 1, 0)


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_search_among_names_that_nearly_match_gives_up_and_goes_on(
    location: str, clock: FakeClock, order: str
) -> None:
    """Each name has every four letters of the needle; only one has them all in a row."""
    filters, descending = Filters(name_contains="abcdef"), order == "descending"

    async def main() -> tuple[list[Page], Record]:
        async with open_throughputs(
            location, clock, block_bits=4, looked_at_most=10
        ) as throughputs:
            wanted = await create(throughputs, throughput("abcdef"))
            for number in range(120):
                await create(throughputs, throughput(f"abcde-bcdef-{number}"))
            pages = [await page(throughputs, filters, descending=descending, limit=3)]
            while (after := pages[-1].goes_on_after) is not None:
                pages.append(
                    await page(throughputs, filters, descending=descending, after=after, limit=3)
                )
            return pages, wanted

    pages, wanted = asyncio.run(main())

    assert sum(not some.rows for some in pages) > 3
    assert [row for some in pages for row in some.rows] == expected(
        [wanted], filters, descending=descending
    )
