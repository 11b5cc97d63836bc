"""Pages of the store at 1,000 rows and at 1,000,000, on both engines, as ratios in one run.

    python -m benchmarks.store_pages [--rows 1000000] [--engine sqlite] [--limit 10]

One account and Region holds all rows. The older half is named `batch-a-…`, the newer `batch-b-…`;
only the newer half has rows that are Updating. Ids, as in life, are random.
"""

import argparse
import asyncio
import random
import statistics
import string
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from outcrop.store import inference_profiles, provisioned_throughputs, throughput_rows
from outcrop.store.database import Database, Transaction
from outcrop.store.inference_profiles import InferenceProfiles
from outcrop.store.migrations import migrate
from outcrop.store.name_index import BLOCK_BITS
from outcrop.store.name_search import FEATURE_COLUMNS, FEATURES, NameSearch
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.records import (
    InferenceProfileRecord,
    ProvisionedModelStatus,
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from outcrop.store.scopes import Scopes
from outcrop.store.store import open_database
from outcrop.wire.timestamps import from_micros, to_micros
from tests.postgres import new_database, postgres_server

ACCOUNT = "123456789012"
REGION = "us-east-1"
START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = 1000
BLOCK = 1 << BLOCK_BITS
MODELS = [
    f"arn:aws:bedrock:{REGION}::foundation-model/amazon.titan-text-express-v{number}:0:8k"
    for number in range(3)
]
STATUSES: Sequence[ProvisionedModelStatus] = ("InService", "Failed", "Updating")
MILLISECONDS_FOR_A_NAME = 20.0
RATIO = 1.5
PLACES = 8

PARTS: Mapping[str, str] = {
    "every name": "batch",
    "every name, one letter": "b",
    "every name, two letters": "h-",
    "no name": "zzzz",
    "no name, one letter": "Z",
    "no name, two letters": "aa",
    "no name, its grams in all": "batch-0",
    "no name, its words in all": "ch-9-0",
    "one name": "needle-in-a-haystack",
    "one name, one letter": "y",
    "one name, all zeros": "0000000",
    "a hundredth, nines": "9999",
    "older half": "batch-a",
    "older half, three letters": "-a-",
    "newer half": "h-b-",
    "one number": "0123456",
}


class Timed(Struct, frozen=True):
    name: str
    small_us: float
    large_us: float

    @property
    def ratio(self) -> float:
        return self.large_us / self.small_us


class Tables:
    """One engine's tables, filled."""

    def __init__(self, database: Database) -> None:
        def clock() -> datetime:
            return START

        self.profiles = InferenceProfiles(database, clock)
        self.throughputs = ProvisionedModelThroughputs(database, clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--engine", choices=["sqlite", "postgres"], action="append")
    arguments = parser.parse_args()
    within = True
    for engine in arguments.engine or ["sqlite", "postgres"]:
        with locations(engine) as (small, large):
            within &= asyncio.run(measure(engine, small, large, arguments))
    sys.exit(0 if within else 1)


@contextmanager
def locations(engine: str) -> Iterator[tuple[str, str]]:
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/small.db", f"{folder}/large.db"
    else:
        with postgres_server(shared_buffers="512MB", max_wal_size="4GB", autovacuum="on") as server:
            yield new_database(server, "small"), new_database(server, "large")


async def measure(engine: str, small: str, large: str, arguments: argparse.Namespace) -> bool:
    rows, limit = arguments.rows, arguments.limit
    async with filled(small, SMALL) as few, filled(large, rows) as many:
        exact = [timed async for timed in exact_filters(few, many, rows, limit)]
        named = [timed async for timed in parts_of_names(few, many, limit)]
    print(f"\n{engine}: exact filters, pages of {limit}, median microseconds")
    for timed in sorted(exact, key=lambda each: -each.ratio)[:12]:
        print(f"  {timed.small_us:9.1f} {timed.large_us:9.1f}  x{timed.ratio:.2f}  {timed.name}")
    worst = max(timed.ratio for timed in exact)
    middle = statistics.median(timed.ratio for timed in exact)
    print(f"  {len(exact)} combinations: worst ratio {worst:.2f}, median {middle:.2f}")
    print(f"{engine}: parts of names, pages of {limit}, milliseconds at {SMALL} and {rows} rows")
    for timed in sorted(named, key=lambda each: -each.large_us)[:24]:
        print(f"  {timed.small_us / 1000:9.2f} {timed.large_us / 1000:9.2f}  {timed.name}")
    slowest = max(timed.large_us for timed in named) / 1000
    median = statistics.median(timed.large_us for timed in named) / 1000
    print(f"  {len(named)} searches: slowest {slowest:.1f} ms, median {median:.1f} ms", flush=True)
    return worst <= RATIO and (slowest <= MILLISECONDS_FOR_A_NAME or limit > 10)


async def exact_filters(few: Tables, many: Tables, rows: int, limit: int) -> AsyncGenerator[Timed]:
    for status, model_arn, half, descending in product(
        (None, *STATUSES), (None, MODELS[1]), (False, True), (False, True)
    ):
        for position in ("start", "middle", "late"):
            name = f"{status} {model_arn and 'model'} {half and 'range'} {descending=} {position}"
            pages = [
                listing(tables, size, status, model_arn, half, descending, position, limit)
                for tables, size in ((few, SMALL), (many, rows))
            ]
            yield Timed(name, *await side_by_side(pages, 60))
    for position in ("start", "middle", "late"):
        pages = [
            profile_listing(tables, size, position, limit)
            for tables, size in ((few, SMALL), (many, rows))
        ]
        yield Timed(f"profiles {position}", *await side_by_side(pages, 60))


Page = Callable[[], Awaitable[object]]


def listing(  # noqa: PLR0913, PLR0917 -- a combination
    tables: Tables,
    size: int,
    status: ProvisionedModelStatus | None,
    model_arn: str | None,
    half: bool,
    descending: bool,
    position: str,
    limit: int,
) -> Page:
    """At one of a few places near `position` each time."""
    filters = ProvisionedModelThroughputFilters(
        status=status,
        model_arn=model_arn,
        created_after=moment(size // 2) if half else None,
        created_before=moment(size - size // 20) if half else None,
    )
    places = random.Random(size)

    async def page() -> object:
        return await tables.throughputs.page(
            ACCOUNT,
            REGION,
            filters=filters,
            descending=descending,
            after=place(places, size, position, descending=descending),
            limit=limit,
        )

    return page


def profile_listing(tables: Tables, size: int, position: str, limit: int) -> Page:
    places = random.Random(size)

    async def page() -> object:
        after = place(places, size, position, descending=False)
        return await tables.profiles.page(
            ACCOUNT, REGION, after=after and (after, "arn"), limit=limit
        )

    return page


def place(places: random.Random, size: int, position: str, *, descending: bool) -> int | None:
    if position == "start":
        return None
    # Where a full page follows, at 1,000 rows too, whatever the filters.
    share = {"middle": 0.7, "late": 0.65 if descending else 0.78}[position]
    return to_micros(moment(int(size * (share + places.randrange(PLACES) / 50 / PLACES))))


async def parts_of_names(few: Tables, many: Tables, limit: int) -> AsyncGenerator[Timed]:
    for (kind, part), status, descending in product(
        PARTS.items(), (None, "Updating"), (True, False)
    ):
        filters = ProvisionedModelThroughputFilters(name_contains=part, status=status)
        both = replace(filters, model_arn=MODELS[1])
        for each, label in ((filters, status), (both, f"{status} model")):
            pages = [search(tables, each, limit, descending=descending) for tables in (few, many)]
            order = "newest" if descending else "oldest"
            yield Timed(f"{kind} ({part}) {label} {order} first", *await side_by_side(pages, 3))


def search(
    tables: Tables, filters: ProvisionedModelThroughputFilters, limit: int, *, descending: bool
) -> Page:
    async def page() -> object:
        return await tables.throughputs.page(
            ACCOUNT, REGION, filters=filters, descending=descending, after=None, limit=limit
        )

    return page


async def side_by_side(pages: Sequence[Page], times: int) -> list[float]:
    """Median microseconds of each, in turns."""
    spans: list[list[float]] = [[] for _ in pages]
    for _ in range(times):
        for page, span in zip(pages, spans, strict=True):
            await page()  # the other one's data has left the processor's caches
            start = time.perf_counter()
            await page()
            span.append((time.perf_counter() - start) * 1e6)
    return [statistics.median(span) for span in spans]


@asynccontextmanager
async def filled(location: str, rows: int) -> AsyncGenerator[Tables]:
    start = time.perf_counter()
    async with open_database(location) as database:
        await migrate(database)
        for first in range(0, rows, BLOCK):
            numbers = range(first, min(rows, first + BLOCK))
            await fill_throughputs(database, numbers, rows)
            await fill_profiles(database, numbers)
        print(f"filled {rows} + {rows} rows in {time.perf_counter() - start:.1f} s", flush=True)
        yield Tables(database)


async def fill_throughputs(database: Database, numbers: range, count: int) -> None:
    """What `create` would have stored, a block at a time."""
    scopes = Scopes(database, provisioned_throughputs.KIND)
    names = NameSearch(database, BLOCK_BITS)

    async def work(transaction: Transaction) -> None:
        scope = await scopes.lock_or_add(transaction, ACCOUNT, REGION)
        rows = []
        for number in numbers:
            row_id, micros = scope.create(moment(number))
            record = throughput(number, count, from_micros(micros))
            rows.append(throughput_rows.row_of(row_id, scope.scope_id, record))
        table, columns = throughput_rows.TABLE, throughput_rows.COLUMNS
        await transaction.insert_many(table, columns, rows)
        if len(numbers) == BLOCK:
            named = [(row[0], *row[3:6]) for row in rows]
            members = names.sealed(rows[0][0] >> BLOCK_BITS, named)
            await transaction.insert_many(FEATURES, FEATURE_COLUMNS, members)
            scope.sealed_until = scope.last_created_at
        await scope.save(transaction)

    await database.write(work)


async def fill_profiles(database: Database, numbers: range) -> None:
    scopes = Scopes(database, inference_profiles.KIND)

    async def work(transaction: Transaction) -> None:
        scope = await scopes.lock_or_add(transaction, ACCOUNT, REGION)
        rows = []
        for number in numbers:
            row_id, micros = scope.create(moment(number))
            record = profile(number, from_micros(micros))
            rows.append(inference_profiles.row_of(row_id, scope.scope_id, record))
        table, columns = inference_profiles.TABLE, inference_profiles.COLUMNS
        await transaction.insert_many(table, columns, rows)
        await scope.save(transaction)

    await database.write(work)


def throughput(number: int, count: int, created: datetime) -> ProvisionedModelThroughputRecord:
    choice = random.Random(number)
    identifier = resource_id(choice)
    newer = number >= count // 2
    return ProvisionedModelThroughputRecord(
        account_id=ACCOUNT,
        region=REGION,
        provisioned_model_id=identifier,
        provisioned_model_arn=f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/{identifier}",
        provisioned_model_name=(
            "needle-in-a-haystack" if number == 3 else f"batch-{'ab'[newer]}-{number:07}"
        ),
        model_arn=(model := choice.choice(MODELS)),
        desired_model_arn=model,
        foundation_model_arn=model.removesuffix(":8k"),
        model_units=1,
        desired_model_units=1,
        status=choice.choice(STATUSES if newer else STATUSES[:2]),
        creation_time=created,
        last_modified_time=created,
        version=1,
    )


def profile(number: int, created: datetime) -> InferenceProfileRecord:
    identifier = resource_id(random.Random(number))
    return InferenceProfileRecord(
        account_id=ACCOUNT,
        region=REGION,
        inference_profile_id=identifier,
        inference_profile_arn=(
            f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{identifier}"
        ),
        inference_profile_name=f"profile {number}",
        model_arns=tuple(MODELS),
        created_at=created,
        updated_at=created,
    )


def resource_id(choice: random.Random) -> str:
    return "".join(choice.choices(string.ascii_lowercase + string.digits, k=12))


def moment(number: int) -> datetime:
    return START + timedelta(seconds=number)


if __name__ == "__main__":
    main()
