"""The store: opens the database, brings its schema up to date, and holds its tables."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from outcrop.store.access_keys import AccessKeys
from outcrop.store.capacity import Capacity
from outcrop.store.database import Database
from outcrop.store.identities import Identities
from outcrop.store.inference_profiles import InferenceProfiles
from outcrop.store.logging_configurations import LoggingConfigurations
from outcrop.store.migrations import migrate
from outcrop.store.postgres import open_postgres
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.resource_policies import ResourcePolicies
from outcrop.store.secrets import Secrets
from outcrop.store.sqlite_file import open_sqlite
from outcrop.store.tags import Tags
from outcrop.store.throughput_history import ProvisionedHours
from outcrop.store.usage import Usage
from outcrop.wire.timestamps import Clock

_POSTGRES = ("postgresql://", "postgres://")


class Store:
    def __init__(self, database: Database, clock: Clock) -> None:
        self.inference_profiles = InferenceProfiles(database, clock)
        self.provisioned_model_throughputs = ProvisionedModelThroughputs(database, clock)
        self.capacity = Capacity(database)
        self.tags = Tags(database)
        self.resource_policies = ResourcePolicies(database)
        self.access_keys = AccessKeys(database)
        self.identities = Identities(database, clock)
        self.secrets = Secrets(database)
        self.usage = Usage(database)
        self.logging_configurations = LoggingConfigurations(database)
        self.provisioned_hours = ProvisionedHours(database)


@asynccontextmanager
async def open_store(location: str | Path, *, clock: Clock) -> AsyncGenerator[Store]:
    """`location`: a PostgreSQL URL, or the path of a SQLite file, which is made if need be.

    Raises SchemaError and other StoreErrors.
    """
    async with open_database(location) as database:
        await migrate(database)
        yield Store(database, clock)


def open_database(location: str | Path) -> AbstractAsyncContextManager[Database]:
    if isinstance(location, str) and location.startswith(_POSTGRES):
        return open_postgres(location)
    return open_sqlite(Path(location))
