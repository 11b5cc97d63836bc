"""Model units that somebody bought at noon."""

from datetime import UTC, datetime

from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.store.store import Store
from tests.metering.records import ACCOUNT, MODEL, REGION

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def provisioned(name: str, units: int, model: str = MODEL) -> ProvisionedModelThroughputRecord:
    prefix = f"arn:aws:bedrock:{REGION}:"
    model_arn = f"{prefix}:foundation-model/{model}"
    return ProvisionedModelThroughputRecord(
        account_id=ACCOUNT,
        region=REGION,
        provisioned_model_id=name,
        provisioned_model_arn=f"{prefix}{ACCOUNT}:provisioned-model/{name}",
        provisioned_model_name=name,
        model_arn=model_arn,
        desired_model_arn=model_arn,
        foundation_model_arn=model_arn,
        model_units=units,
        desired_model_units=units,
        status="InService",
        creation_time=NOON,
        last_modified_time=NOON,
    )


async def buy(
    store: Store, name: str, units: int, model: str = MODEL, **tags: str
) -> ProvisionedModelThroughputRecord:
    return await store.provisioned_model_throughputs.create(
        provisioned(name, units, model), tags=tags, client_token=None, quota=None
    )
