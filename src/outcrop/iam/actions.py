"""What IAM authorizes: of each operation its action, the types of its resources and its own keys.

From the service authorization reference; tests/iam/test_actions.py holds the table to it.
"""

from collections.abc import Mapping

from msgspec import Struct

CALL_WITH_BEARER_TOKEN = "bedrock:CallWithBearerToken"  # noqa: S105 - a name
"""Besides the operation's own action, when the credential is an API key."""
TAG_RESOURCE = "bedrock:TagResource"
"""Besides the operation's own action, when a resource is made with tags."""

MODEL = "foundation-model"
CUSTOM_MODEL = "custom-model"
SYSTEM_PROFILE = "inference-profile"
APPLICATION_PROFILE = "application-inference-profile"
PROVISIONED = "provisioned-model"

ROLE = "role"

_ASSUMPTION = (
    "sts:ExternalId",
    "sts:RoleSessionName",
    "sts:SourceIdentity",
    "sts:TransitiveTagKeys",
)
_TAGS = ("aws:RequestTag", "aws:TagKeys")
_INVOCATION = ("bedrock:InferenceProfileArn", "bedrock:GuardrailIdentifier", "bedrock:ServiceTier")


class Action(Struct, frozen=True, kw_only=True):
    name: str
    resource_types: tuple[str, ...] = ()
    """Those that are served here; none: the resource is `*`, or of a listing all of one type."""
    condition_keys: tuple[str, ...] = ()
    """Besides those of every request and `aws:ResourceTag`."""


INVOKE_MODEL = Action(
    name="bedrock:InvokeModel",
    resource_types=(MODEL, SYSTEM_PROFILE, APPLICATION_PROFILE, PROVISIONED),
    condition_keys=_INVOCATION,
)
INVOKE_MODEL_WITH_RESPONSE_STREAM = Action(
    name="bedrock:InvokeModelWithResponseStream",
    resource_types=(MODEL, SYSTEM_PROFILE, APPLICATION_PROFILE, PROVISIONED),
    condition_keys=_INVOCATION,
)


def _own(name: str, *resource_types: str, keys: tuple[str, ...] = ()) -> Action:
    return Action(name=f"bedrock:{name}", resource_types=resource_types, condition_keys=keys)


ACTIONS: Mapping[str, Action] = {
    "ListInferenceProfiles": _own("ListInferenceProfiles"),
    "GetInferenceProfile": _own("GetInferenceProfile", SYSTEM_PROFILE, APPLICATION_PROFILE),
    "CreateInferenceProfile": _own(
        "CreateInferenceProfile", MODEL, SYSTEM_PROFILE, APPLICATION_PROFILE, keys=_TAGS
    ),
    "DeleteInferenceProfile": _own("DeleteInferenceProfile", APPLICATION_PROFILE),
    "ListProvisionedModelThroughputs": _own("ListProvisionedModelThroughputs"),
    "GetProvisionedModelThroughput": _own("GetProvisionedModelThroughput", PROVISIONED),
    "CreateProvisionedModelThroughput": _own(
        "CreateProvisionedModelThroughput", MODEL, CUSTOM_MODEL, keys=_TAGS
    ),
    "UpdateProvisionedModelThroughput": _own(
        "UpdateProvisionedModelThroughput", PROVISIONED, MODEL, CUSTOM_MODEL
    ),
    "DeleteProvisionedModelThroughput": _own("DeleteProvisionedModelThroughput", PROVISIONED),
    "ListFoundationModels": _own("ListFoundationModels"),
    "GetFoundationModel": _own("GetFoundationModel", MODEL),
    "GetFoundationModelAvailability": _own("GetFoundationModelAvailability"),
    "TagResource": _own("TagResource", APPLICATION_PROFILE, PROVISIONED, keys=_TAGS),
    "UntagResource": _own("UntagResource", APPLICATION_PROFILE, PROVISIONED, keys=_TAGS[1:]),
    "ListTagsForResource": _own("ListTagsForResource", APPLICATION_PROFILE, PROVISIONED),
    "PutModelInvocationLoggingConfiguration": _own("PutModelInvocationLoggingConfiguration"),
    "GetModelInvocationLoggingConfiguration": _own("GetModelInvocationLoggingConfiguration"),
    "DeleteModelInvocationLoggingConfiguration": _own("DeleteModelInvocationLoggingConfiguration"),
    "PutResourcePolicy": _own("PutResourcePolicy", APPLICATION_PROFILE, PROVISIONED, keys=_TAGS),
    "GetResourcePolicy": _own("GetResourcePolicy", APPLICATION_PROFILE, PROVISIONED),
    "DeleteResourcePolicy": _own("DeleteResourcePolicy", APPLICATION_PROFILE, PROVISIONED),
    "Converse": INVOKE_MODEL,
    "ConverseStream": INVOKE_MODEL_WITH_RESPONSE_STREAM,
    "InvokeModel": INVOKE_MODEL,
    "InvokeModelWithResponseStream": INVOKE_MODEL_WITH_RESPONSE_STREAM,
    "CountTokens": _own("CountTokens", MODEL),
    "ListMetrics": Action(name="cloudwatch:ListMetrics"),
    "GetMetricStatistics": Action(name="cloudwatch:GetMetricStatistics"),
    "GetMetricData": Action(name="cloudwatch:GetMetricData"),
    "GetCostAndUsage": Action(name="ce:GetCostAndUsage"),
    "GetDimensionValues": Action(name="ce:GetDimensionValues"),
    "GetTags": Action(name="ce:GetTags"),
    "AssumeRole": Action(
        name="sts:AssumeRole",
        resource_types=(ROLE,),
        condition_keys=(*_TAGS, *_ASSUMPTION),
    ),
    "AssumeRoleWithWebIdentity": Action(
        name="sts:AssumeRoleWithWebIdentity",
        resource_types=(ROLE,),
        condition_keys=(*_TAGS, *_ASSUMPTION[1:]),
    ),
    "GetSessionToken": Action(name="sts:GetSessionToken"),
    "GetCallerIdentity": Action(name="sts:GetCallerIdentity"),
}
"""By the operation's name."""
