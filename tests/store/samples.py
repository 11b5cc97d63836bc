"""Records to store."""

from itertools import count

from msgspec.structs import replace

from outcrop.store.records import InferenceProfileRecord, ProvisionedModelThroughputRecord
from tests.clocks import FakeClock

ACCOUNT = "123456789012"
REGION = "us-east-1"
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:24k"

_numbers = count(1)
_NOW = FakeClock()()


def profile(name: str = "profile") -> InferenceProfileRecord:
    """A new one at every call."""
    profile_id = f"p{next(_numbers):011}"
    return InferenceProfileRecord(
        account_id=ACCOUNT,
        region=REGION,
        inference_profile_id=profile_id,
        inference_profile_arn=(
            f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{profile_id}"
        ),
        inference_profile_name=name,
        description="Of a test",
        model_arns=(MODEL, "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0"),
        created_at=_NOW,
        updated_at=_NOW,
    )


_THROUGHPUT = ProvisionedModelThroughputRecord(
    account_id=ACCOUNT,
    region=REGION,
    provisioned_model_id="",
    provisioned_model_arn="",
    provisioned_model_name="",
    model_arn=MODEL,
    desired_model_arn=MODEL,
    foundation_model_arn=MODEL,
    model_units=1,
    desired_model_units=1,
    status="Creating",
    creation_time=_NOW,
    last_modified_time=_NOW,
)


def throughput(name: str | None = None) -> ProvisionedModelThroughputRecord:
    """A new one at every call; named by its number unless named here."""
    number = next(_numbers)
    provisioned_model_id = f"t{number:011}"
    return replace(
        _THROUGHPUT,
        provisioned_model_id=provisioned_model_id,
        provisioned_model_arn=(
            f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/{provisioned_model_id}"
        ),
        provisioned_model_name=name or f"throughput-{number}",
    )
