"""More of the policies that AWS's documentation shows, each with what it lets pass and what not.

Bedrock User Guide: security_iam_id-based-policy-examples, api-keys-permissions, api-keys-modify,
guardrails-permissions-id, count-tokens, inference-profiles-prereq, prov-thru-permissions,
tagging; AWS Managed Policy Reference: AmazonDataZoneBedrockModelManagementPolicy; AWS re:Post:
bedrock-access-denied-exception; Organizations User Guide: Region restrictions. test_access.py has
the others.
"""

from typing import Any

import pytest

from outcrop.iam.access import Resource, invoked
from tests.iam.policy.world import ACCOUNT, user
from tests.iam.test_access import (
    APPLICATION,
    DIRECT,
    EVERYTHING,
    GEOGRAPHIC,
    GUARDRAIL,
    INVOKE,
    MODEL,
    PROVISIONED,
    THROUGH_APPLICATION,
    THROUGH_GLOBAL,
    THROUGH_UNITS,
    THROUGH_US,
    US,
    Raw,
    allow,
    arn,
    ask,
    deny,
    model_arn,
    passes,
)

NEW_PROFILE = Resource(arn=arn("application-inference-profile/*"), is_created=True)
NEW_UNITS = Resource(arn=arn("provisioned-model/*"), is_created=True)


def test_inference_can_be_denied_of_every_model() -> None:
    given = [EVERYTHING, deny("arn:aws:bedrock:*::foundation-model/*")]

    for resources in (DIRECT, THROUGH_US, THROUGH_GLOBAL, THROUGH_APPLICATION):
        assert not passes(given, resources)
    assert passes(given, operation="ListFoundationModels")
    # Units are no foundation model: they are denied by themselves.
    assert passes(given, THROUGH_UNITS)


@pytest.mark.parametrize("key", ["SHORT_TERM", "LONG_TERM"])
def test_all_api_keys_can_be_denied_at_once(key: Any) -> None:
    both = deny(action=["iam:CreateServiceSpecificCredential", "bedrock:CallWithBearerToken"])

    assert passes([EVERYTHING], DIRECT, bearer_token_type=key)
    assert not passes([EVERYTHING, both], DIRECT, bearer_token_type=key)
    assert passes([EVERYTHING, both], DIRECT)


def test_a_keys_user_can_be_left_with_some_models_only() -> None:
    given = [
        allow(action="bedrock:CallWithBearerToken"),
        allow(model_arn("us-west-2", "anthropic.claude-sonnet-4-6"), action=INVOKE),
    ]
    west = invoked(user(region="us-west-2").caller, MODEL, regions=[])

    assert passes(given, west, bearer_token_type="LONG_TERM")
    assert not passes(given, DIRECT, bearer_token_type="LONG_TERM")


def guarded(allowed: Any, *, likes: bool = False) -> list[Raw]:
    """Models with those guardrails alone, and the right to apply them."""
    operators = ("StringLike", "StringNotLike") if likes else ("StringEquals", "StringNotEquals")
    models = "arn:aws:bedrock:us-east-1::foundation-model/*"
    return [
        allow(models, **{operators[0]: {"bedrock:GuardrailIdentifier": allowed}}),
        deny(models, **{operators[1]: {"bedrock:GuardrailIdentifier": allowed}}),
        allow([GUARDRAIL, GUARDRAIL + "-2"], action="bedrock:ApplyGuardrail"),
    ]


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream", "InvokeModel"])
def test_one_of_several_guardrails_and_versions_can_be_demanded(operation: str) -> None:
    pairs = [f"{GUARDRAIL}:1", f"{GUARDRAIL}-2:2"]

    def with_guardrail(identifier: str | None) -> bool:
        return passes(guarded(pairs), DIRECT, operation=operation, guardrail_identifier=identifier)

    assert all(map(with_guardrail, pairs))
    assert not any(map(with_guardrail, [f"{GUARDRAIL}:2", f"{GUARDRAIL}-2:1", GUARDRAIL, None]))


def test_any_version_of_a_guardrail_can_be_demanded_with_its_draft() -> None:
    given = guarded(f"{GUARDRAIL}*", likes=True)

    assert passes(given, DIRECT, guardrail_identifier=GUARDRAIL)
    assert passes(given, DIRECT, guardrail_identifier=f"{GUARDRAIL}:7")
    assert not passes(given, DIRECT)


def test_tokens_are_counted_by_a_permission_of_their_own() -> None:
    counting = allow(model_arn("us-east-1"), action="bedrock:CountTokens")

    assert passes([counting], DIRECT, operation="CountTokens")
    assert not passes([counting], DIRECT, operation="InvokeModel")
    assert not passes([allow(action=INVOKE)], DIRECT, operation="CountTokens")


def test_one_profile_can_be_allowed_and_its_models_through_it_alone() -> None:
    through: Raw = {"StringLike": {"bedrock:InferenceProfileArn": GEOGRAPHIC.arn}}
    given = [
        allow(GEOGRAPHIC.arn, action="bedrock:InvokeModel*"),
        allow("arn:aws:bedrock:*::foundation-model/*", action="bedrock:InvokeModel*", **through),
    ]

    assert passes(given, THROUGH_US)
    assert passes(given, THROUGH_US, operation="ConverseStream")
    for resources in (DIRECT, THROUGH_GLOBAL, THROUGH_APPLICATION):
        assert not passes(given, resources)


@pytest.mark.parametrize(
    ("tags", "allowed"),
    [
        ({"AmazonDataZoneProject": "p"}, True),
        ({"AmazonDataZoneProject": "p", "more": "1"}, True),
        ({"AmazonDataZoneProject": ""}, True),
        ({"team": "search"}, False),
        ({}, False),
    ],
)
def test_a_tag_can_be_demanded_by_its_key_alone(tags: dict[str, str], *, allowed: bool) -> None:
    demanded: Raw = {
        "ForAnyValue:StringEquals": {"aws:TagKeys": ["AmazonDataZoneProject"]},
        "Null": {"aws:RequestTag/AmazonDataZoneProject": "false"},
    }
    given = [
        allow(
            arn("application-inference-profile/*"),
            action=["bedrock:CreateInferenceProfile", "bedrock:TagResource"],
            **demanded,
        ),
        allow("arn:aws:bedrock:*::foundation-model/*", action="bedrock:CreateInferenceProfile"),
    ]
    resources = [Resource(arn=model_arn("us-east-1")), NEW_PROFILE]

    found = passes(given, resources, operation="CreateInferenceProfile", request_tags=tags)

    assert found is allowed


def test_what_is_tagged_otherwise_can_be_kept_from_changing() -> None:
    own: Raw = {"StringEquals": {"aws:ResourceTag/Team": "search"}}
    given = [
        allow(action=["bedrock:UpdateProvisionedModelThroughput", "bedrock:*InferenceProfile"]),
        deny(action=["bedrock:Update*", "bedrock:Delete*"], StringNotEquals=own["StringEquals"]),
    ]
    strange = Resource(arn=PROVISIONED.arn, tags={"Team": "ads"})

    assert passes(given, [PROVISIONED], operation="UpdateProvisionedModelThroughput")
    assert not passes(given, [strange], operation="UpdateProvisionedModelThroughput")
    assert passes(given, [APPLICATION], operation="DeleteInferenceProfile")


def test_units_can_be_bought_without_being_of_use_and_used_without_being_bought() -> None:
    buying = allow(action="bedrock:CreateProvisionedModelThroughput")
    using = allow(PROVISIONED.arn, action=INVOKE)
    made = [Resource(arn=model_arn("us-east-1")), NEW_UNITS]

    assert passes([buying], made, operation="CreateProvisionedModelThroughput")
    assert not passes([buying], THROUGH_UNITS)
    assert passes([using], THROUGH_UNITS)
    assert not passes([using], made, operation="CreateProvisionedModelThroughput")


def test_regions_can_be_denied_to_all_but_bedrock() -> None:
    denied = deny(StringEquals={"aws:RequestedRegion": list(US)})
    del denied["Action"]
    scp = [allow(action="*"), {**denied, "NotAction": "bedrock:*"}]

    assert passes([EVERYTHING], THROUGH_US, scp=scp)
    assert not passes([allow(action="cloudwatch:*")], operation="ListMetrics", scp=scp)


def test_regions_can_be_denied_but_to_profiles() -> None:
    outside = deny(
        StringNotEquals={"aws:RequestedRegion": ["us-east-1"]},
        ArnNotLike={"bedrock:InferenceProfileArn": "arn:aws:bedrock:*:*:inference-profile/us.*"},
    )
    scp = [allow(action="*"), outside]
    elsewhere = invoked(user(region="eu-west-1").caller, MODEL, regions=[])

    assert passes([EVERYTHING], THROUGH_US, scp=scp)
    assert passes([EVERYTHING], DIRECT, scp=scp)
    assert not passes([EVERYTHING], elsewhere, scp=scp)
    assert ask([EVERYTHING], THROUGH_GLOBAL, scp=scp).access.resource == model_arn("")


def test_only_profiles_of_ones_own_account_can_be_demanded() -> None:
    own: Raw = {"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}
    given = [
        allow("arn:aws:bedrock:*:*:application-inference-profile/*", **own),
        allow("arn:aws:bedrock:*::foundation-model/*"),
    ]
    strange = Resource(arn=APPLICATION.arn.replace(ACCOUNT, "999999999999"))

    assert passes(given, THROUGH_APPLICATION)
    assert not passes(given, invoked(user().caller, MODEL, regions=US, profile=strange))
