"""Pages of the store at 1,000 rows and at 1,000,000, on both engines, as ratios in one run.

    python -m benchmarks.store_pages [--rows 1000000] [--engine sqlite] [--limit 10] [--places 8]

Pages are asked for at a few places near a position, in turns, so they are mostly in the database's
cache, as all of 1,000 rows always are. `--places 1000000` asks for pages that nobody asked for
before: those at 1,000,000 rows are then read from the operating system, or from the disk.

Ends with 1 when a page costs more than 1.5 times what it costs at 1,000 rows, or a search for a
part of a name more than 20 ms (pages of 10).
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import partial
from itertools import count, product

from msgspec import Struct
from msgspec.structs import replace

from benchmarks.store_rows import (
    ACCOUNT,
    MODELS,
    ODD_NAME,
    REGION,
    STATUSES,
    Tables,
    filled,
    moment,
    throughput,
)
from outcrop.store import sqlite
from outcrop.store.records import ProvisionedModelThroughputFilters
from outcrop.wire.timestamps import to_micros
from tests.postgres import new_database, postgres_server

SMALL = 1000
RATIO = 1.5
PART_MS = 20.0

PARTS: Mapping[str, str] = {
    "every name": "batch",
    "every name, one letter": "b",
    "every name, two letters": "h-",
    "no name": "zzzz",
    "no name, one letter": "Z",
    "no name, two letters": "aa",
    "no name, its grams in most": "batch-0",
    "no name, its words in most": "ch-9-0",
    "one name": ODD_NAME,
    "one name, one letter": "y",
    "one name, all zeros": "0000000",
    "few names, nines": "9999",
    "the older half": "batch-a",
    "the older half, three letters": "-a-",
    "the newer half": "h-b-",
    "one number": "0123456",
}

Page = Callable[[Tables], Awaitable[object]]


class Timed(Struct, frozen=True):
    name: str
    small_us: float
    large_us: float

    @property
    def ratio(self) -> float:
        return self.large_us / self.small_us


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], action="append")
    arguments, _ = parser.parse_known_args()
    sqlite.ROWS_REMEMBERED = -1  # what is measured is reading, not remembering
    kept = []
    for engine in arguments.engine or ["sqlite", "postgres"]:
        with locations(engine) as (small, large):
            print(f"\n{engine}")
            kept.append(asyncio.run(measure(small, large, arguments)))
    sys.exit(0 if all(kept) else 1)


@contextmanager
def locations(engine: str) -> Iterator[tuple[str, str]]:
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/small.db", f"{folder}/large.db"
    else:
        # As it comes, but for memory; and it must not lose what it said it has.
        settings = {"shared_buffers": "512MB", "autovacuum": "on", "max_wal_size": "4GB"}
        durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
        with postgres_server(**settings, **durable) as server:
            yield new_database(server, "small"), new_database(server, "large")


async def measure(small: str, large: str, arguments: argparse.Namespace) -> bool:
    rows, limit, places = arguments.rows, arguments.limit, arguments.places
    async with filled(small, SMALL) as few, filled(large, rows) as many:
        exact = [await timed(few, many, *each, 60) async for each in exact_filters(limit, places)]
        named = [await timed(few, many, *each, 3) async for each in parts_of_names(limit, places)]
        numbers = count(rows)
        created = await timed(few, many, "create", partial(create, numbers), 100)
    worst = max(each.ratio for each in exact)
    slowest = max(each.large_us for each in named) / 1000
    print(f"exact filters, pages of {limit}: microseconds at {SMALL} and {rows} rows, ratio")
    show(sorted(exact, key=lambda each: -each.ratio)[:8])
    print(f"  worst of {len(exact)}: x{worst:.2f}, median x{median_ratio(exact):.2f}")
    print(f"parts of names, pages of {limit}:")
    show(sorted(named, key=lambda each: -each.large_us)[:12])
    print(f"  slowest of {len(named)}: {slowest:.1f} ms")
    show([created])
    return worst <= RATIO and (slowest <= PART_MS or limit > 10)


def show(some: Iterable[Timed]) -> None:
    for each in some:
        print(f"  {each.small_us:9.1f} {each.large_us:9.1f}  x{each.ratio:<6.2f} {each.name}")


def median_ratio(some: Iterable[Timed]) -> float:
    return statistics.median(each.ratio for each in some)


async def exact_filters(limit: int, places: int) -> AsyncGenerator[tuple[str, Page]]:
    for status, model_arn, ranged, descending, position in product(
        (None, *STATUSES), (None, MODELS[1]), (False, True), (False, True), POSITIONS
    ):
        filters = ProvisionedModelThroughputFilters(status=status, model_arn=model_arn)
        listing = Listing(filters=filters, descending=descending, limit=limit, places=places)
        name = f"{status} {model_arn and 'model'} {'range' * ranged} {ORDERS[descending]}"
        yield f"{name}, {position}", listing.pages(position, ranged=ranged)
    for position in POSITIONS:
        yield f"profiles, {position}", profile_pages(position, limit, places)


async def parts_of_names(limit: int, places: int) -> AsyncGenerator[tuple[str, Page]]:
    for (kind, part), status, model_arn, descending in product(
        PARTS.items(), (None, "Updating"), (None, MODELS[1]), (True, False)
    ):
        filters = ProvisionedModelThroughputFilters(
            name_contains=part,
            status="Updating" if status else None,
            model_arn=model_arn,
        )
        listing = Listing(filters=filters, descending=descending, limit=limit, places=places)
        name = f"{kind} ({part}) {status} {model_arn and 'model'} {ORDERS[descending]}"
        yield name, listing.pages("start", ranged=False)


ORDERS = {False: "oldest first", True: "newest first"}
# Shares of the rows, ascending and descending, after which a page is full at 1,000 rows, too.
POSITIONS: Mapping[str, tuple[float, float] | None] = {
    "start": None,
    "middle": (0.7, 0.7),
    "late": (0.78, 0.65),
}


class Listing(Struct, frozen=True, kw_only=True):
    filters: ProvisionedModelThroughputFilters
    descending: bool
    limit: int
    places: int

    def pages(self, position: str, *, ranged: bool) -> Page:
        choice = random.Random(1)

        async def page(tables: Tables) -> object:
            filters = self.filters
            if ranged:
                filters = replace(
                    filters,
                    created_after=moment(tables.size // 2),
                    created_before=moment(tables.size - tables.size // 20),
                )
            return await tables.throughputs.page(
                ACCOUNT,
                REGION,
                filters=filters,
                descending=self.descending,
                after=place(share(choice, self.places), tables.size, position, self.descending),
                limit=self.limit,
            )

        return page


def profile_pages(position: str, limit: int, places: int) -> Page:
    choice = random.Random(1)

    async def page(tables: Tables) -> object:
        after = place(share(choice, places), tables.size, position, False)
        position_after = None if after is None else (after, "arn")
        return await tables.profiles.page(ACCOUNT, REGION, after=position_after, limit=limit)

    return page


def share(choice: random.Random, places: int) -> float:
    return choice.randrange(places) / places


def place(near: float, size: int, position: str, descending: bool) -> int | None:  # noqa: FBT001
    shares = POSITIONS[position]
    if shares is None:
        return None
    return to_micros(moment(int(size * (shares[descending] + near / 50))))


async def create(numbers: Iterator[int], tables: Tables) -> object:
    number = next(numbers)
    new = throughput(number, tables.size, moment(number))
    return await tables.throughputs.create(new, tags={}, client_token=None, quota=None)


async def timed(few: Tables, many: Tables, name: str, page: Page, times: int) -> Timed:
    """Median microseconds of each, in turns."""
    spans: Sequence[list[float]] = ([], [])
    for _ in range(times):
        for tables, span in zip((few, many), spans, strict=True):
            await page(tables)  # the other one's data has left the processor's caches
            start = time.perf_counter()
            await page(tables)
            span.append((time.perf_counter() - start) * 1e6)
    return Timed(name, *(statistics.median(span) for span in spans))


if __name__ == "__main__":
    main()
