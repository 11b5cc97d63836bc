"""A database as full as asked: what `create` would have stored, put there a block at a time.

One account and Region holds all rows. The older half is named `batch-a-…`, the newer `batch-b-…`;
only the newer half has rows that are Updating; one name is unlike the others. Ids are random.
"""

import random
import string
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from outcrop.store import inference_profiles, provisioned_throughputs, throughput_rows
from outcrop.store.database import Database, Transaction, Value
from outcrop.store.inference_profiles import InferenceProfiles
from outcrop.store.migrations import migrate
from outcrop.store.name_index import BLOCK_BITS
from outcrop.store.name_search import FEATURE_COLUMNS, FEATURES, NameSearch
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.records import (
    InferenceProfileRecord,
    ProvisionedModelStatus,
    ProvisionedModelThroughputRecord,
)
from outcrop.store.scopes import Scopes
from outcrop.store.store import open_database
from outcrop.wire.timestamps import from_micros

ACCOUNT = "123456789012"
REGION = "us-east-1"
ODD_NAME = "needle-in-a-haystack"
MODELS = [
    f"arn:aws:bedrock:{REGION}::foundation-model/amazon.titan-text-express-v{number}:0:8k"
    for number in range(3)
]
STATUSES: Sequence[ProvisionedModelStatus] = ("InService", "Failed", "Updating")

_START = datetime(2026, 1, 1, tzinfo=UTC)
_BLOCK = 1 << BLOCK_BITS


class Tables:
    """One database, filled."""

    def __init__(self, database: Database, size: int) -> None:
        self.size = size
        self.profiles = InferenceProfiles(database, lambda: moment(size))
        self.throughputs = ProvisionedModelThroughputs(database, lambda: moment(size))


def moment(number: int) -> datetime:
    """When the row of this number was created."""
    return _START + timedelta(seconds=number)


@asynccontextmanager
async def filled(location: str, size: int) -> AsyncGenerator[Tables]:
    start = time.perf_counter()
    async with open_database(location) as database:
        await migrate(database)
        for first in range(0, size, _BLOCK):
            numbers = range(first, min(size, first + _BLOCK))
            await _fill_throughputs(database, numbers, size)
            await _fill_profiles(database, numbers)
        print(f"filled {size} + {size} rows in {time.perf_counter() - start:.1f} s", flush=True)
        yield Tables(database, size)


async def _fill_throughputs(database: Database, numbers: range, size: int) -> None:
    scopes = Scopes(database, provisioned_throughputs.KIND)
    names = NameSearch(database, BLOCK_BITS)

    async def work(transaction: Transaction) -> None:
        scope = await scopes.lock_or_add(transaction, ACCOUNT, REGION)
        rows = []
        for number in numbers:
            row_id, micros = scope.create(moment(number))
            record = throughput(number, size, from_micros(micros))
            rows.append(throughput_rows.row_of(row_id, scope.scope_id, record))
        await transaction.insert_many(throughput_rows.TABLE, throughput_rows.COLUMNS, rows)
        if len(numbers) == _BLOCK:
            named = [(row[0], *row[3:6]) for row in rows]
            members = names.sealed(rows[0][0] >> BLOCK_BITS, named)
            await transaction.insert_many(FEATURES, FEATURE_COLUMNS, members)
            scope.sealed_until = scope.last_created_at
        await scope.save(transaction)

    await database.write(work)


async def _fill_profiles(database: Database, numbers: range) -> None:
    scopes = Scopes(database, inference_profiles.KIND)

    async def work(transaction: Transaction) -> None:
        scope = await scopes.lock_or_add(transaction, ACCOUNT, REGION)
        rows: list[tuple[Value, ...]] = []
        for number in numbers:
            row_id, micros = scope.create(moment(number))
            record = profile(number, from_micros(micros))
            rows.append(inference_profiles.row_of(row_id, scope.scope_id, record))
        await transaction.insert_many(inference_profiles.TABLE, inference_profiles.COLUMNS, rows)
        await scope.save(transaction)

    await database.write(work)


def throughput(number: int, size: int, created: datetime) -> ProvisionedModelThroughputRecord:
    choice = random.Random(number)
    identifier = _resource_id(choice)
    model_arn = choice.choice(MODELS)
    newer = number >= size // 2
    return ProvisionedModelThroughputRecord(
        account_id=ACCOUNT,
        region=REGION,
        provisioned_model_id=identifier,
        provisioned_model_arn=f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/{identifier}",
        provisioned_model_name=ODD_NAME if number == 3 else f"batch-{'ab'[newer]}-{number:07}",
        model_arn=model_arn,
        desired_model_arn=model_arn,
        foundation_model_arn=model_arn.removesuffix(":8k"),
        model_units=1,
        desired_model_units=1,
        status=choice.choice(STATUSES if newer else STATUSES[:2]),
        creation_time=created,
        last_modified_time=created,
        version=1,
    )


def profile(number: int, created: datetime) -> InferenceProfileRecord:
    identifier = _resource_id(random.Random(number))
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


def _resource_id(choice: random.Random) -> str:
    return "".join(choice.choices(string.ascii_lowercase + string.digits, k=12))
