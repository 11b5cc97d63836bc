"""The schema, step by step: one text for both engines, in PostgreSQL's spelling."""

from collections.abc import Sequence

from outcrop.store.database import Database, Transaction
from outcrop.store.errors import SchemaError

# A step that was released is never edited: a database out there has it.
# Rows of a resource are numbered, within an account and Region (a "scope"), in order of creation:
# row_id = scope_id << 36 | number (store/scopes.py). What the store only reads and writes whole is
# JSON in `summary` and `rest` (store/listed.py); what it searches by stands in a column besides.
FIRST = (
    "CREATE TABLE accounts (account_id TEXT NOT NULL PRIMARY KEY, created_at BIGINT NOT NULL)",
    """CREATE TABLE access_keys (
        access_key_id TEXT NOT NULL PRIMARY KEY,
        account_id TEXT NOT NULL REFERENCES accounts,
        secret_access_key TEXT NOT NULL,
        created_at BIGINT NOT NULL
    )""",
    "CREATE TABLE secrets (name TEXT NOT NULL PRIMARY KEY, secret BYTEA NOT NULL)",
    """CREATE TABLE scopes (
        scope_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind TEXT NOT NULL,
        account_id TEXT NOT NULL,
        region TEXT NOT NULL,
        live_count BIGINT NOT NULL,
        created_count BIGINT NOT NULL,
        last_created_at BIGINT NOT NULL,
        sealed_until BIGINT NOT NULL,
        UNIQUE (kind, account_id, region)
    )""",
    """CREATE TABLE client_tokens (
        scope_id BIGINT NOT NULL,
        token TEXT NOT NULL,
        operation TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        record TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (scope_id, operation, token)
    ) /* WITHOUT ROWID */""",
    "CREATE INDEX client_tokens_by_age ON client_tokens (scope_id, created_at)",
    """CREATE TABLE tags (
        resource_arn TEXT NOT NULL,
        tag_key TEXT NOT NULL,
        tag_value TEXT NOT NULL,
        PRIMARY KEY (resource_arn, tag_key)
    ) /* WITHOUT ROWID */""",
    """CREATE TABLE inference_profiles (
        row_id BIGINT NOT NULL PRIMARY KEY,
        scope_id BIGINT NOT NULL,
        inference_profile_id TEXT NOT NULL,
        updated_at BIGINT NOT NULL,
        summary TEXT NOT NULL,
        UNIQUE (scope_id, inference_profile_id)
    )""",
    "CREATE INDEX inference_profiles_by_age ON inference_profiles (scope_id, updated_at)",
    """CREATE TABLE provisioned_model_throughputs (
        row_id BIGINT NOT NULL PRIMARY KEY,
        scope_id BIGINT NOT NULL,
        provisioned_model_id TEXT NOT NULL,
        provisioned_model_name TEXT NOT NULL,
        status TEXT NOT NULL,
        model_arn TEXT NOT NULL,
        creation_time BIGINT NOT NULL,
        due_at BIGINT,
        version BIGINT NOT NULL,
        summary TEXT NOT NULL,
        rest TEXT NOT NULL,
        UNIQUE (scope_id, provisioned_model_id),
        UNIQUE (scope_id, provisioned_model_name)
    )""",
    "CREATE INDEX throughputs_by_age ON provisioned_model_throughputs (scope_id, creation_time)",
    """CREATE INDEX throughputs_by_status
        ON provisioned_model_throughputs (scope_id, status, creation_time)""",
    """CREATE INDEX throughputs_by_model
        ON provisioned_model_throughputs (scope_id, model_arn, creation_time)""",
    """CREATE INDEX throughputs_by_status_and_model
        ON provisioned_model_throughputs (scope_id, status, model_arn, creation_time)""",
    """CREATE INDEX throughputs_due
        ON provisioned_model_throughputs (due_at) WHERE due_at IS NOT NULL""",
    # The index for parts of names (store/name_index.py).
    """CREATE TABLE throughput_features (
        feature BIGINT NOT NULL,
        block BIGINT NOT NULL,
        members BYTEA NOT NULL,
        PRIMARY KEY (feature, block)
    ) /* WITHOUT ROWID */""",
)

# Units that were InService before anybody counted them. A summary is JSON of ours, its members in
# one order, no quote in its names: read so, it is read the same way by every version of an engine.
_UNITS_AT = """strpos(summary, '"modelUnits":') + 13"""
_UNITS_END = """strpos(summary, ',"desiredModelUnits":')"""
SECOND = (
    # What provisioned models hold, over all accounts (store/capacity.py).
    """CREATE TABLE capacity_holds (
        region TEXT NOT NULL,
        model TEXT NOT NULL,
        units BIGINT NOT NULL,
        PRIMARY KEY (region, model)
    ) /* WITHOUT ROWID */""",
    f"""INSERT INTO capacity_holds (region, model, units)
        SELECT scopes.region, substr(model_arn, strpos(model_arn, '/') + 1), SUM(CAST(
            substr(summary, {_UNITS_AT}, {_UNITS_END} - ({_UNITS_AT})) AS BIGINT
        ))
        FROM provisioned_model_throughputs JOIN scopes
            ON scopes.scope_id = provisioned_model_throughputs.scope_id
        WHERE status IN ('InService', 'Updating')
        GROUP BY 1, 2""",  # noqa: S608 - of two constants
)

# What was used (store/usage.py), and provisioned models that were paid for and are gone.
USAGE = (
    "CREATE TABLE usage_journals (journal_id TEXT NOT NULL PRIMARY KEY, position BIGINT NOT NULL)",
    """CREATE TABLE usage_records (
        until BIGINT NOT NULL,
        journal_id TEXT NOT NULL,
        position BIGINT NOT NULL,
        since BIGINT NOT NULL,
        records BYTEA NOT NULL,
        PRIMARY KEY (until, journal_id, position)
    )""",
    """CREATE TABLE usage_series (
        series_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind TEXT NOT NULL,
        account_id TEXT NOT NULL,
        region TEXT NOT NULL,
        digest BYTEA NOT NULL,
        dimensions TEXT NOT NULL,
        UNIQUE (kind, account_id, region, digest)
    )""",
    """CREATE TABLE usage_metrics (
        series_id BIGINT NOT NULL,
        span_s BIGINT NOT NULL,
        at BIGINT NOT NULL,
        sums BYTEA NOT NULL,
        PRIMARY KEY (series_id, span_s, at)
    ) /* WITHOUT ROWID */""",
    """CREATE TABLE usage_costs (
        account_id TEXT NOT NULL,
        span_s BIGINT NOT NULL,
        at BIGINT NOT NULL,
        series_id BIGINT NOT NULL,
        invocations BIGINT NOT NULL,
        input_tokens BIGINT NOT NULL,
        output_tokens BIGINT NOT NULL,
        cache_read_input_tokens BIGINT NOT NULL,
        cache_write_input_tokens BIGINT NOT NULL,
        input_cost BIGINT NOT NULL,
        output_cost BIGINT NOT NULL,
        cache_read_input_cost BIGINT NOT NULL,
        cache_write_input_cost BIGINT NOT NULL,
        PRIMARY KEY (account_id, span_s, at, series_id)
    ) /* WITHOUT ROWID */""",
    """CREATE TABLE provisioned_model_history (
        account_id TEXT NOT NULL,
        deleted_at BIGINT NOT NULL,
        provisioned_model_arn TEXT NOT NULL,
        summary TEXT NOT NULL,
        rest TEXT NOT NULL,
        tags TEXT NOT NULL,
        PRIMARY KEY (account_id, deleted_at, provisioned_model_arn)
    ) /* WITHOUT ROWID */""",
)

# Of a series of metrics: the last day of each that has values, by its name. What metrics there are
# is asked of one row a series.
SEEN = ("ALTER TABLE usage_series ADD COLUMN seen TEXT NOT NULL DEFAULT '{}'",)

# Where invocations are logged to (store/logging_configurations.py).
LOGGING = (
    """CREATE TABLE logging_configurations (
        account_id TEXT NOT NULL,
        region TEXT NOT NULL,
        configuration TEXT NOT NULL,
        PRIMARY KEY (account_id, region)
    ) /* WITHOUT ROWID */""",
)

# Who calls (store/identities.py), and whose the keys are. A secret of before is sealed at the next
# start (iam/sealed_keys.py): sealing needs a key that the database does not have.
IDENTITY = (
    "ALTER TABLE access_keys ADD COLUMN user_name TEXT",
    "ALTER TABLE access_keys ADD COLUMN status TEXT NOT NULL DEFAULT 'Active'",
    "ALTER TABLE access_keys ADD COLUMN region TEXT",
    "ALTER TABLE access_keys ADD COLUMN expires_at BIGINT",
    "ALTER TABLE access_keys ADD COLUMN last_used_at BIGINT",
    "CREATE INDEX access_keys_by_owner ON access_keys (account_id, user_name)",
    """CREATE TABLE identities (
        account_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (account_id, kind, name)
    ) /* WITHOUT ROWID */""",
    "CREATE TABLE identity_version (version BIGINT NOT NULL)",
    "INSERT INTO identity_version VALUES (0)",
)

# Policies at resources (store/resource_policies.py).
RESOURCE_POLICIES = (
    """CREATE TABLE resource_policies (
        resource_arn TEXT NOT NULL PRIMARY KEY,
        document TEXT NOT NULL
    )""",
)

# What is in the configuration is found without reading all that there is, and so is what another
# sealing key has sealed: "sealed:" and twelve characters that name the key. `declared` is the last
# member of a record.
DECLARED = (
    "ALTER TABLE access_keys ADD COLUMN declared BOOLEAN NOT NULL DEFAULT FALSE",
    "ALTER TABLE identities ADD COLUMN declared BOOLEAN NOT NULL DEFAULT FALSE",
    """UPDATE identities SET declared = TRUE WHERE record LIKE '%,"declared":true}'""",
    "CREATE INDEX access_keys_declared ON access_keys (access_key_id) WHERE declared",
    "CREATE INDEX identities_declared ON identities (account_id, kind, name) WHERE declared",
    "CREATE INDEX access_keys_by_seal ON access_keys (substr(secret_access_key, 1, 19))",
)

MIGRATIONS: Sequence[Sequence[str]] = (
    FIRST,
    SECOND,
    USAGE,
    SEEN,
    LOGGING,
    IDENTITY,
    RESOURCE_POLICIES,
    DECLARED,
)


async def migrate(database: Database, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Brings the schema up to date; of servers that start together one does, the others wait.

    Raises SchemaError for a database that a newer version has been at.
    """

    async def work(transaction: Transaction) -> None:
        await transaction.alone()
        version = await _version(transaction)
        if version > len(migrations):
            raise SchemaError(
                f"The database has schema {version}; this version of Outcrop knows schemas up to "
                f"{len(migrations)}. Start the version that was here before, or a newer one."
            )
        for migration in migrations[version:]:
            for statement in migration:
                await transaction.execute(statement)
        if version < len(migrations):
            await transaction.execute("UPDATE schema_version SET version = $1", len(migrations))

    await database.write(work)


async def _version(transaction: Transaction) -> int:
    await transaction.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    rows = await transaction.fetch("SELECT version FROM schema_version")
    if rows:
        version: int = rows[0][0]
        return version
    await transaction.execute("INSERT INTO schema_version VALUES (0)")
    return 0
