"""Bedrock's rules, by the policies that its documentation shows: what each lets pass, or not.

Amazon Bedrock User Guide: inference-prereq, inference-profiles-prereq, geographic- and
global-cross-region-inference, security_iam_id-based-policy-examples, api-keys-permissions,
guardrails-permissions-id, prov-thru-permissions; AWS re:Post, bedrock-access-denied-exception.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from outcrop.iam.access import (
    ANYWHERE,
    AuthorizationRequest,
    BearerTokenType,
    Resource,
    accesses,
    authorized,
    invoked,
)
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.denial import access_denied
from outcrop.iam.policy.evaluation import Authorizer, Decision
from outcrop.iam.policy.rules import PolicySet
from tests.iam.policy.world import ACCOUNT, NOW, SESSION, attached, session, statements, user

Raw = dict[str, Any]

HERE = Environment(now=NOW, source_ip="203.0.113.7", is_secure=True, user_agent="boto3")
MODEL = "anthropic.claude-sonnet-4-6"
US = ("us-east-1", "us-east-2", "us-west-2")
INVOKE = ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]


def model_arn(region: str, model_id: str = MODEL) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def arn(resource: str, region: str = "us-east-1") -> str:
    return f"arn:aws:bedrock:{region}:{ACCOUNT}:{resource}"


GEOGRAPHIC = Resource(arn=arn(f"inference-profile/us.{MODEL}"))
GLOBAL = Resource(arn=arn(f"inference-profile/global.{MODEL}"))
APPLICATION = Resource(
    arn=arn("application-inference-profile/hq2of259skzs"), tags={"Team": "search"}
)
PROVISIONED = Resource(arn=arn("provisioned-model/my-model-1"), tags={"Team": "search"})

DIRECT = invoked(user().caller, MODEL, regions=[])
THROUGH_US = invoked(user().caller, MODEL, regions=US, profile=GEOGRAPHIC)
THROUGH_GLOBAL = invoked(user().caller, MODEL, regions=[ANYWHERE, "us-east-1"], profile=GLOBAL)
THROUGH_APPLICATION = invoked(user().caller, MODEL, regions=US, profile=APPLICATION)
THROUGH_UNITS = invoked(user().caller, MODEL, regions=[], provisioned=PROVISIONED)


def allow(resource: str | Sequence[str] = "*", *, action: Any = INVOKE, **condition: Any) -> Raw:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


def deny(resource: str | Sequence[str] = "*", *, action: Any = INVOKE, **condition: Any) -> Raw:
    return {**allow(resource, action=action, **condition), "Effect": "Deny"}


def ask(
    given: Sequence[Raw],
    resources: Sequence[Resource] = (),
    *,
    operation: str = "Converse",
    scp: Sequence[Raw] = (),
    **asked: Any,
) -> Decision:
    levels = [[attached(statements(*scp), "service control policy", name="Scp")]] if scp else []
    policies = PolicySet(identity=[attached(statements(*given))], service_control=levels)
    request = AuthorizationRequest(
        operation=operation, environment=HERE, resources=resources, **asked
    )
    return authorized(request, Authorizer(session(team="search"), policies))


def passes(given: Sequence[Raw], resources: Sequence[Resource] = (), **asked: Any) -> bool:
    return ask(given, resources, **asked).allowed


EVERYTHING = allow(action="bedrock:*")


@pytest.mark.parametrize(
    ("resources", "touched"),
    [
        (DIRECT, [model_arn("us-east-1")]),
        (THROUGH_US, [GEOGRAPHIC.arn, *(model_arn(region) for region in US)]),
        (THROUGH_GLOBAL, [GLOBAL.arn, model_arn("us-east-1"), model_arn("")]),
        (THROUGH_UNITS, [PROVISIONED.arn]),
        (
            invoked(user(region="ca-central-1").caller, MODEL, regions=US, profile=GEOGRAPHIC),
            [GEOGRAPHIC.arn, *(model_arn(region) for region in ("ca-central-1", *US))],
        ),
    ],
)
def test_an_invocation_touches_profile_and_model_wherever_it_may_run(
    resources: Sequence[Resource], touched: list[str]
) -> None:
    assert [resource.arn for resource in resources] == touched


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("Converse", "bedrock:InvokeModel"),
        ("InvokeModel", "bedrock:InvokeModel"),
        ("ConverseStream", "bedrock:InvokeModelWithResponseStream"),
        ("InvokeModelWithResponseStream", "bedrock:InvokeModelWithResponseStream"),
    ],
)
def test_converse_is_authorized_as_invoke_model(operation: str, action: str) -> None:
    other = [name for name in INVOKE if name != action]

    assert passes([allow(action=action)], DIRECT, operation=operation)
    assert not passes([allow(action=other)], DIRECT, operation=operation)


def test_a_profile_alone_or_a_model_alone_is_not_enough() -> None:
    only_profile = ask([allow(GEOGRAPHIC.arn)], THROUGH_US)
    only_models = ask([allow("arn:aws:bedrock:*::foundation-model/*")], THROUGH_US)
    without_account = ask(
        [allow(["arn:aws:bedrock:*::foundation-model/*", GEOGRAPHIC.arn.replace(ACCOUNT, "")])],
        THROUGH_US,
    )

    assert only_profile.access.resource == model_arn("us-east-1")
    assert only_models.access.resource == without_account.access.resource == GEOGRAPHIC.arn


@pytest.mark.parametrize("missing", US)
def test_every_destination_is_needed_and_the_denial_names_the_one_that_failed(missing: str) -> None:
    rest = [model_arn(region) for region in US if region != missing]
    decision = ask([allow([GEOGRAPHIC.arn, *rest])], THROUGH_US)

    assert access_denied(session(), decision).message == (
        f"User: {SESSION} is not authorized to perform: bedrock:InvokeModel on resource:"
        f" {model_arn(missing)} because no identity-based policy allows the bedrock:InvokeModel"
        " action"
    )


def test_models_can_be_allowed_through_a_profile_only() -> None:
    through: Raw = {"StringEquals": {"bedrock:InferenceProfileArn": GEOGRAPHIC.arn}}
    given = [
        allow(GEOGRAPHIC.arn, StringEquals={"aws:RequestedRegion": "us-east-1"}),
        allow([model_arn(region) for region in US], **through),
    ]

    assert passes(given, THROUGH_US)
    assert not passes(given, DIRECT)
    assert not passes(given, THROUGH_GLOBAL)


def test_an_application_profile_counts_by_its_own_arn() -> None:
    any_application: Raw = {"ArnLike": {"bedrock:InferenceProfileArn": arn("application-*/*")}}
    given = [
        allow(APPLICATION.arn),
        allow("arn:aws:bedrock:*::foundation-model/*", **any_application),
    ]

    assert passes(given, THROUGH_APPLICATION)
    assert not passes([*given, allow(GEOGRAPHIC.arn)], THROUGH_US)


def global_profile(*, region: str) -> list[Raw]:
    through = {"bedrock:InferenceProfileArn": GLOBAL.arn}
    return [
        allow(GLOBAL.arn, StringEquals={"aws:RequestedRegion": "us-east-1"}),
        allow(model_arn("us-east-1"), StringEquals={"aws:RequestedRegion": "us-east-1", **through}),
        allow(model_arn(""), StringEquals={"aws:RequestedRegion": region, **through}),
    ]


def test_a_global_profile_needs_the_model_of_no_region_which_is_unspecified() -> None:
    assert passes(global_profile(region="unspecified"), THROUGH_GLOBAL)
    assert not passes(global_profile(region="us-east-1"), THROUGH_GLOBAL)
    assert not passes(global_profile(region="unspecified")[:2], THROUGH_GLOBAL)


def test_global_profiles_can_be_switched_off() -> None:
    scp = [
        allow(action="*"),
        deny(
            action="bedrock:*",
            StringEquals={"aws:RequestedRegion": "unspecified"},
            ArnLike={
                "bedrock:InferenceProfileArn": "arn:aws:bedrock:*:*:inference-profile/global.*"
            },
        ),
    ]
    decision = ask([EVERYTHING], THROUGH_GLOBAL, scp=scp)

    assert passes([EVERYTHING], THROUGH_US, scp=scp)
    assert access_denied(session(), decision).message == (
        f"User: {SESSION} is not authorized to perform: bedrock:InvokeModel on resource:"
        f" {model_arn('')} with an explicit deny in a service control policy:"
        f" arn:aws:iam::{ACCOUNT}:policy/Scp"
    )


def outside(*regions: str, **but: Any) -> list[Raw]:
    """What Control Tower denies: everything outside of some Regions."""
    denied = deny(StringNotEquals={"aws:RequestedRegion": list(regions)}, **but)
    del denied["Action"]
    return [allow(action="*"), {**denied, "NotAction": ["iam:*", "sts:*"]}]


def test_a_denied_region_stops_the_profiles_that_may_go_there() -> None:
    decision = ask([EVERYTHING], THROUGH_US, scp=outside("us-east-1", "us-west-2"))

    assert decision.access.resource == model_arn("us-east-2")
    assert decision.kind == "service control policy"
    assert passes([EVERYTHING], DIRECT, scp=outside("us-east-1"))
    assert passes([EVERYTHING], THROUGH_US, scp=outside(*US))
    assert not passes([EVERYTHING], THROUGH_GLOBAL, scp=outside(*US))
    assert passes([EVERYTHING], THROUGH_GLOBAL, scp=outside(*US, "unspecified"))


def test_a_denied_region_can_be_opened_to_profiles() -> None:
    but = {"ArnNotLike": {"bedrock:InferenceProfileArn": "arn:aws:bedrock:*:*:inference-profile/*"}}

    assert passes([EVERYTHING], THROUGH_US, scp=outside("us-east-1", **but))
    assert not passes([EVERYTHING], DIRECT, scp=outside("eu-west-1", **but))


def test_models_can_be_denied_but_through_profiles() -> None:
    scp = [
        allow(action="*"),
        deny(
            "arn:aws:bedrock:*::foundation-model/*",
            StringEquals={"aws:RequestedRegion": list(US)},
            ArnNotLike={
                "bedrock:InferenceProfileArn": [
                    "arn:aws:bedrock:*:*:application-inference-profile/*",
                    "arn:aws:bedrock:*:*:inference-profile/*",
                ]
            },
        ),
    ]

    assert passes([EVERYTHING], THROUGH_US, scp=scp)
    assert passes([EVERYTHING], THROUGH_APPLICATION, scp=scp)
    assert not passes([EVERYTHING], DIRECT, scp=scp)


def test_a_model_can_be_denied_however_it_is_invoked() -> None:
    given = [EVERYTHING, deny(f"arn:aws:bedrock:*::foundation-model/{MODEL}")]
    other = invoked(user().caller, "amazon.nova-lite-v1:0", regions=[])

    for resources in (DIRECT, THROUGH_US, THROUGH_GLOBAL, THROUGH_APPLICATION):
        for operation in ("Converse", "ConverseStream", "InvokeModel"):
            decision = ask(given, resources, operation=operation)
            assert (decision.allowed, decision.statement) == (False, "Statement[1]")
    assert passes(given, other)


def test_a_provisioned_model_can_be_allowed_alone() -> None:
    given = [allow(PROVISIONED.arn, action="bedrock:InvokeModel")]

    assert passes(given, THROUGH_UNITS)
    assert not passes(given, THROUGH_UNITS, operation="ConverseStream")
    assert not passes(given, DIRECT)


def test_the_documented_permissions_for_profiles_suffice() -> None:
    profiles = [
        "arn:aws:bedrock:*:*:inference-profile/*",
        "arn:aws:bedrock:*:*:application-inference-profile/*",
    ]
    acted = ["Get", "List", "Delete"]
    given = [
        allow(
            ["arn:aws:bedrock:*::foundation-model/*", *profiles],
            action=["bedrock:InvokeModel*", "bedrock:CreateInferenceProfile"],
        ),
        allow(
            profiles,
            action=[f"bedrock:{one}InferenceProfile{'s' * (one == 'List')}" for one in acted]
            + ["bedrock:TagResource", "bedrock:UntagResource", "bedrock:ListTagsForResource"],
        ),
    ]
    new = Resource(arn=arn("application-inference-profile/*"), is_created=True)
    source = Resource(arn=model_arn("us-east-1"))

    assert passes(given, THROUGH_US)
    assert passes(given, [GEOGRAPHIC], operation="GetInferenceProfile")
    assert passes(given, [APPLICATION], operation="DeleteInferenceProfile")
    assert passes(given, [APPLICATION], operation="UntagResource", tag_keys=["team"])
    assert passes(
        given, [source, new], operation="CreateInferenceProfile", request_tags={"team": "search"}
    )
    listed = [Resource(arn=arn("inference-profile/*"))]
    assert passes(given, listed, operation="ListInferenceProfiles")
    assert passes([allow(action="bedrock:List*")], listed, operation="ListInferenceProfiles")


def test_tags_of_a_new_resource_have_to_be_allowed_and_can_be_demanded() -> None:
    new = Resource(arn=arn("application-inference-profile/*"), is_created=True)
    resources = [Resource(arn=model_arn("us-east-1")), new]
    create: Raw = {"operation": "CreateInferenceProfile"}
    tagged: Raw = {**create, "request_tags": {"Team": "search"}}
    creating = allow(action="bedrock:CreateInferenceProfile")
    only_team: Any = {"aws:TagKeys": ["Team"]}
    own_team = allow(
        action=["bedrock:CreateInferenceProfile", "bedrock:TagResource"],
        StringEquals={"aws:RequestTag/team": "${aws:PrincipalTag/team}"},
        **{"ForAllValues:StringEquals": only_team},
    )

    assert passes([creating], resources, **create)
    denied = ask([creating], resources, **tagged)
    assert (denied.access.action, denied.access.resource) == ("bedrock:TagResource", new.arn)
    assert passes([own_team], resources, **tagged)
    assert not passes([own_team], resources, **create)
    for tags in ({"Team": "ads"}, {"Team": "search", "Cost": "1"}):
        assert not passes([own_team], resources, **{**create, "request_tags": tags})


def test_resources_can_be_allowed_by_their_tags() -> None:
    own_team: Raw = {"StringEquals": {"aws:ResourceTag/Team": "${aws:PrincipalTag/team}"}}
    models = allow("arn:aws:bedrock:*::foundation-model/*")
    profiles = allow(arn("application-inference-profile/*"), **own_team)
    strange = Resource(arn=APPLICATION.arn, tags={"Team": "ads"})

    assert passes([models, profiles], THROUGH_APPLICATION)
    assert not passes(
        [models, profiles], invoked(user().caller, MODEL, regions=US, profile=strange)
    )


@pytest.mark.parametrize("operation", ["Converse", "InvokeModel"])
def test_service_tiers_can_be_denied(operation: str) -> None:
    tiers: Raw = {"StringEquals": {"bedrock:ServiceTier": ["reserved", "priority"]}}
    given = [EVERYTHING, deny(**tiers)]

    assert not passes(given, DIRECT, operation=operation, service_tier="priority")
    assert passes(given, DIRECT, operation=operation, service_tier="flex")
    assert passes(given, DIRECT, operation=operation)


GUARDRAIL = arn("guardrail/guardrail-id")


@pytest.mark.parametrize(
    ("allowed", "negated", "passing", "stopped"),
    [
        (GUARDRAIL + ":1", "StringNotEquals", [GUARDRAIL + ":1"], [GUARDRAIL, GUARDRAIL + ":2"]),
        (GUARDRAIL, "StringNotEquals", [GUARDRAIL], [GUARDRAIL + ":1"]),
        (GUARDRAIL + ":*", "StringNotLike", [GUARDRAIL + ":1", GUARDRAIL + ":2"], [GUARDRAIL]),
        (GUARDRAIL + "*", "StringNotLike", [GUARDRAIL, GUARDRAIL + ":7"], [arn("guardrail/other")]),
    ],
)
def test_a_guardrail_can_be_demanded(
    allowed: str, negated: str, passing: list[str], stopped: list[str]
) -> None:
    other: Raw = {negated: {"bedrock:GuardrailIdentifier": allowed}}
    given = [EVERYTHING, deny(**other)]

    assert all(passes(given, DIRECT, guardrail_identifier=one) for one in passing)
    assert not any(passes(given, DIRECT, guardrail_identifier=one) for one in [*stopped, None])


KEYS: list[BearerTokenType] = ["SHORT_TERM", "LONG_TERM"]


@pytest.mark.parametrize("denied", KEYS)
def test_api_keys_need_a_permission_of_their_own_and_can_be_denied(denied: BearerTokenType) -> None:
    invoking = allow(action="bedrock:InvokeModel")
    calling = allow(action="bedrock:CallWithBearerToken")
    refused = deny(
        action="bedrock:CallWithBearerToken",
        StringEquals={"bedrock:bearerTokenType": denied},
    )

    without = ask([invoking], DIRECT, bearer_token_type=denied)
    assert without.access.action == "bedrock:CallWithBearerToken"
    for key in KEYS:
        assert passes([invoking, calling], DIRECT, bearer_token_type=key)
        decision = ask([invoking, calling, refused], DIRECT, bearer_token_type=key)
        assert decision.allowed is (key != denied)
    assert passes([invoking, refused], DIRECT)


def test_the_documented_permissions_for_provisioned_throughput_suffice() -> None:
    names = ["Create", "Update", "Get", "Delete"]
    given = [
        allow(action=[f"bedrock:{name}ProvisionedModelThroughput" for name in names]),
        allow(action=["bedrock:ListProvisionedModelThroughputs", "bedrock:TagResource"]),
    ]
    model = Resource(arn=model_arn("us-east-1", "amazon.nova-lite-v1:0:24k"))
    new = Resource(arn=arn("provisioned-model/*"), is_created=True)

    for name in names:
        assert passes(given, [PROVISIONED], operation=f"{name}ProvisionedModelThroughput")
    assert passes(given, operation="ListProvisionedModelThroughputs")
    assert passes(
        given,
        [model, new],
        operation="CreateProvisionedModelThroughput",
        request_tags={"a": "b"},
    )
    assert not passes(given, THROUGH_UNITS)


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2026-11-23T00:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:EpochTime": "1795348801"}}, False),
        ({"NumericEquals": {"aws:EpochTime": "1795348800"}}, True),
        ({"Bool": {"aws:SecureTransport": "true", "aws:ViaAWSService": "false"}}, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, False),
        ({"Null": {"aws:MultiFactorAuthAge": "true", "aws:TokenIssueTime": "false"}}, True),
        ({"StringLike": {"aws:UserAgent": "boto?"}}, True),
        ({"StringEquals": {"aws:PrincipalTag/Team": "search"}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True),
        ({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/*"}}, True),
        ({"StringEquals": {"aws:username": "alice"}}, False),
        ({"StringEquals": {"aws:ResourceAccount": ACCOUNT}}, False),
        ({"Null": {"bedrock:InferenceProfileArn": "true"}}, True),
    ],
    ids=str,
)
def test_the_keys_of_every_request_are_known(
    condition: Mapping[str, Any], *, allowed: bool
) -> None:
    assert passes([allow(**condition)], DIRECT) is allowed


def test_what_is_asked_for_is_asked_for_in_order() -> None:
    request = AuthorizationRequest(
        operation="CreateInferenceProfile",
        environment=HERE,
        resources=[
            GEOGRAPHIC,
            Resource(arn=arn("application-inference-profile/*"), is_created=True),
        ],
        request_tags={"Team": "search"},
        bearer_token_type="LONG_TERM",
    )

    asked = [(one.action, one.resource) for one in accesses(request, user())]

    assert asked == [
        ("bedrock:CallWithBearerToken", "*"),
        ("bedrock:CreateInferenceProfile", GEOGRAPHIC.arn),
        ("bedrock:CreateInferenceProfile", arn("application-inference-profile/*")),
        ("bedrock:TagResource", arn("application-inference-profile/*")),
    ]
