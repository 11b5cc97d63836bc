"""The records that survive a restart."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

ProvisionedModelStatus = Literal["Creating", "InService", "Updating", "Failed"]
CommitmentDuration = Literal["OneMonth", "SixMonths"]


class InferenceProfileRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An application inference profile."""

    account_id: str
    region: str
    inference_profile_id: str
    inference_profile_arn: str
    inference_profile_name: str
    description: str | None = None
    model_arns: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


class ProvisionedModelThroughputRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    account_id: str
    region: str
    provisioned_model_id: str
    provisioned_model_arn: str
    provisioned_model_name: str
    model_arn: str
    desired_model_arn: str
    foundation_model_arn: str
    model_units: int
    desired_model_units: int
    status: ProvisionedModelStatus
    failure_message: str | None = None
    commitment_duration: CommitmentDuration | None = None
    commitment_expiration_time: datetime | None = None
    creation_time: datetime
    last_modified_time: datetime
    due_at: datetime | None = None
    """When something happens to it by itself: creation or update completes, commitment renews."""
    version: int = 0
    """Counted by the store at every change; what compare-and-set compares."""


class ProvisionedModelThroughputFilters(Struct, frozen=True, kw_only=True):
    status: ProvisionedModelStatus | None = None
    model_arn: str | None = None
    name_contains: str | None = None
    """A literal, case-sensitive substring."""
    created_after: datetime | None = None
    """Exclusive, as `created_before`."""
    created_before: datetime | None = None


class ClientToken(Struct, frozen=True, kw_only=True):
    """An idempotency token, and a fingerprint of the parameters it came with."""

    operation: str
    token: str
    fingerprint: str


KeyStatus = Literal["Active", "Inactive"]


class AccessKeyRecord(Struct, frozen=True, kw_only=True):
    """An access key, or a long-term API key, which has a Region."""

    account_id: str
    access_key_id: str
    secret_access_key: str
    """As the store has it: sealed (iam/sealed_keys.py)."""
    created_at: datetime
    user_name: str | None = None
    """None: the account's root user."""
    status: KeyStatus = "Active"
    region: str | None = None
    """Of an API key: where it may be used."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """To the minute or so."""
    declared: bool = False
    """In the configuration: it goes when it is no longer there."""

    def __repr__(self) -> str:
        return f"AccessKeyRecord({self.access_key_id!r} of {self.account_id!r})"
