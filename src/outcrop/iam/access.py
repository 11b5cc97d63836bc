"""What a request needs to be allowed, resource by resource, and whether it is."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

from msgspec import Struct

from outcrop.iam import actions
from outcrop.iam.caller import Caller
from outcrop.iam.policy.context import (
    Environment,
    environment_context,
    principal_context,
    tagged,
)
from outcrop.iam.policy.evaluation import Authorizer, Decision
from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import Access, AttachedPolicy, names
from outcrop.wire.arn import Arn

BearerTokenType: TypeAlias = Literal["SHORT_TERM", "LONG_TERM"]

ANYWHERE = ""
"""The Region in the ARN of a model that a global profile may run in any Region."""
UNSPECIFIED = "unspecified"
"""What `aws:RequestedRegion` is then."""

_REMEMBERED = 4_096


class Resource(Struct, frozen=True, kw_only=True):
    arn: str
    """`arn:…:application-inference-profile/*` of one yet to be made."""
    tags: Mapping[str, str] = {}
    inference_profile_arn: str | None = None
    """Of a model: the profile it is invoked through."""
    policy: AttachedPolicy | None = None
    is_created: bool = False


class Needs(Struct, frozen=True, kw_only=True):
    """What an operation has to be allowed, as far as its input says."""

    resources: Sequence[Resource] = ()
    """None: `*`."""
    request_tags: Mapping[str, str] = {}
    tag_keys: Sequence[str] = ()
    service_tier: str | None = None
    guardrail_identifier: str | None = None
    keys: Context = {}
    """Further condition keys, in lower case: of STS's operations."""
    besides: Sequence[str] = ()
    """Further actions on the same resources: `sts:TagSession`."""
    is_free: bool = False
    """Whether no policy is asked."""


class AuthorizationRequest(Struct, frozen=True, kw_only=True):
    operation: str
    environment: Environment
    resources: Sequence[Resource] = ()
    """All that the operation touches, and each has to be allowed."""
    request_tags: Mapping[str, str] = {}
    tag_keys: Sequence[str] = ()
    """Of UntagResource; where tags are given, theirs count."""
    service_tier: str | None = None
    """Only if the request says one."""
    guardrail_identifier: str | None = None
    """The guardrail's ARN, with its version unless that is DRAFT: `arn:…:guardrail/id:1`."""
    bearer_token_type: BearerTokenType | None = None
    keys: Context = {}
    besides: Sequence[str] = ()


def is_named(principal: Principal, policy: AttachedPolicy, resource_arn: str) -> bool:
    """Whether the policy at a resource allows the principal anything, by what never changes."""
    _, constant = _constant_keys(resource_arn, None, principal.caller.region)
    return names(policy, principal, {**principal_context(principal), **dict(constant)})


async def everything(_caller: object, _input: object) -> Needs:
    """Of an operation without resources: `*`."""
    return _EVERYTHING


async def nothing(_caller: object, _input: object) -> Needs:
    """Of an operation that anyone with credentials may call, whatever policies say."""
    return _NOTHING


_EVERYTHING = Needs()
_NOTHING = Needs(is_free=True)


def authorized(request: AuthorizationRequest, authorizer: Authorizer) -> Decision:
    """The first denial, or of the last resource the permission."""
    decision: Decision | None = None
    for access in accesses(request, authorizer.principal):
        decision = authorizer.decide(access)
        if not decision.allowed:
            break
    assert decision is not None
    return decision


def invoked(
    caller: Caller,
    model_id: str,
    *,
    regions: Sequence[str],
    profile: Resource | None = None,
    provisioned: Resource | None = None,
) -> Sequence[Resource]:
    """What an invocation touches.

    A profile needs itself, the model in the source Region and the model in every Region that it
    may run in, of which ANYWHERE is one. A provisioned model needs itself only.
    """
    if provisioned is not None:
        return (provisioned,)
    through = profile.arn if profile is not None else None
    models = [
        Resource(
            arn=str(Arn(caller.partition, "bedrock", region, "", f"{actions.MODEL}/{model_id}")),
            inference_profile_arn=through,
        )
        for region in dict.fromkeys([caller.region, *(regions if through else ())])
    ]
    return models if profile is None else [profile, *models]


def accesses(request: AuthorizationRequest, principal: Principal) -> Iterator[Access]:
    """In the order in which they are asked for."""
    environment = environment_context(request.environment, principal)
    here = (("aws:requestedregion", principal.caller.region),)
    if request.bearer_token_type is not None:
        yield Access(
            action=actions.CALL_WITH_BEARER_TOKEN,
            resource="*",
            constant=here,
            context={**environment, "bedrock:bearertokentype": request.bearer_token_type},
        )
    action = actions.ACTIONS[request.operation]
    context = {**environment, **_own_keys(request, action), **request.keys}
    region = principal.caller.region
    if not request.resources:
        yield Access(action=action.name, resource="*", constant=here, context=context)
    for resource in request.resources:
        if not resource.is_created or _type(resource) in action.resource_types:
            yield _access(action.name, resource, context, region)
        for other in request.besides:
            yield _access(other, resource, context, region)
    for resource in request.resources:
        if resource.is_created and request.request_tags:
            yield _access(actions.TAG_RESOURCE, resource, context, region)


def _type(resource: Resource) -> str:
    return Arn.parse(resource.arn).resource_type


def _own_keys(request: AuthorizationRequest, action: actions.Action) -> Context:
    keys: dict[str, str | tuple[str, ...]] = {}
    if "aws:RequestTag" in action.condition_keys:
        keys |= tagged("aws:requesttag", request.request_tags)
    tag_keys = tuple(request.request_tags or request.tag_keys)
    if "aws:TagKeys" in action.condition_keys and tag_keys:
        keys["aws:tagkeys"] = tag_keys
    if "bedrock:ServiceTier" in action.condition_keys and request.service_tier:
        keys["bedrock:servicetier"] = request.service_tier
    if "bedrock:GuardrailIdentifier" in action.condition_keys and request.guardrail_identifier:
        keys["bedrock:guardrailidentifier"] = request.guardrail_identifier
    return keys


def _access(action: str, resource: Resource, context: Context, region: str) -> Access:
    account_id, constant = _constant_keys(resource.arn, resource.inference_profile_arn, region)
    if resource.tags:
        context = {**context, **tagged("aws:resourcetag", resource.tags)}
    return Access(
        action=action,
        resource=resource.arn,
        constant=constant,
        context=context,
        resource_policy=resource.policy,
        resource_account_id=account_id,
    )


@lru_cache(maxsize=_REMEMBERED)
def _constant_keys(
    resource: str, inference_profile_arn: str | None, region: str
) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Whose the resource is, if anyone's, and its keys that are always the same."""
    arn = Arn.parse(resource)
    keys = {
        # Other services' resources are of no Region, their requests are.
        "aws:requestedregion": arn.region or (UNSPECIFIED if arn.service == "bedrock" else region),
        "aws:resourceaccount": arn.account_id,
        "bedrock:inferenceprofilearn": inference_profile_arn,
    }
    return arn.account_id or None, tuple((key, value) for key, value in keys.items() if value)
