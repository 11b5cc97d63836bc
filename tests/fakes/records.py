"""Stores of the two resources that a modelId can name, in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from outcrop.store.records import (
    InferenceProfileRecord,
    ProvisionedModelStatus,
    ProvisionedModelThroughputRecord,
)

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


class FakeInferenceProfiles(Struct, frozen=True):
    records: Sequence[InferenceProfileRecord] = ()

    async def find(
        self, account_id: str, region: str, inference_profile_id: str
    ) -> InferenceProfileRecord | None:
        wanted = (account_id, region, inference_profile_id)
        for record in self.records:
            if (record.account_id, record.region, record.inference_profile_id) == wanted:
                return record
        return None


class FakeProvisionedModelThroughputs(Struct, frozen=True):
    records: Sequence[ProvisionedModelThroughputRecord] = ()

    async def find(
        self, account_id: str, region: str, *, provisioned_model_id: str
    ) -> ProvisionedModelThroughputRecord | None:
        wanted = (account_id, region, provisioned_model_id)
        for record in self.records:
            if (record.account_id, record.region, record.provisioned_model_id) == wanted:
                return record
        return None


def inference_profile(arn: str, *model_arns: str) -> InferenceProfileRecord:
    _, _, _, region, account_id, resource = arn.split(":", 5)
    return InferenceProfileRecord(
        account_id=account_id,
        region=region,
        inference_profile_id=resource.partition("/")[2],
        inference_profile_arn=arn,
        inference_profile_name="mine",
        model_arns=model_arns,
        created_at=LONG_AGO,
        updated_at=LONG_AGO,
    )


def provisioned_model(
    arn: str, model_arn: str, status: ProvisionedModelStatus = "InService"
) -> ProvisionedModelThroughputRecord:
    _, _, _, region, account_id, resource = arn.split(":", 5)
    return ProvisionedModelThroughputRecord(
        account_id=account_id,
        region=region,
        provisioned_model_id=resource.partition("/")[2],
        provisioned_model_arn=arn,
        provisioned_model_name="mine",
        model_arn=model_arn,
        desired_model_arn=model_arn,
        foundation_model_arn=model_arn,
        model_units=1,
        desired_model_units=1,
        status=status,
        creation_time=LONG_AGO,
        last_modified_time=LONG_AGO,
    )
