"""What an invocation touches, and so has to be allowed."""

from outcrop.iam.access import Needs, Resource, invoked
from outcrop.iam.caller import Caller
from outcrop.iam.policy.rules import AttachedPolicy
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.inference import Inference
from outcrop.runtime.target import Target, Targets
from outcrop.wire.arn import Arn
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseStreamRequest,
    CountTokensRequest,
    InvokeModelRequest,
    InvokeModelWithResponseStreamRequest,
)


class Touched:
    def __init__(self, inference: Inference, targets: Targets, policies: ResourcePolicies) -> None:
        self._inference = inference
        self._targets = targets
        self._policies = policies

    async def conversation(
        self, invocation: ModelInvocation, request: ConverseRequest | ConverseStreamRequest
    ) -> Needs:
        guardrail = request.guardrail_config
        return await self._invoked(
            invocation,
            request.model_id,
            service_tier=request.service_tier.type if request.service_tier else None,
            guardrail=None
            if guardrail is None
            else (guardrail.guardrail_identifier, guardrail.guardrail_version),
        )

    async def invocation(
        self,
        invocation: ModelInvocation,
        request: InvokeModelRequest | InvokeModelWithResponseStreamRequest,
    ) -> Needs:
        return await self._invoked(
            invocation,
            request.model_id,
            service_tier=request.service_tier,
            guardrail=(request.guardrail_identifier, request.guardrail_version),
        )

    async def counted(self, caller: Caller, request: CountTokensRequest) -> Needs:
        target = await self._targets.resolve_for_counting(caller, request.model_id)
        models = invoked(caller, _model_of(target), regions=())
        if caller.shared_arn is None:
            return Needs(resources=models)
        # Of one's own profile counting asks nothing; another's has to be opened for it.
        policy = await self._policies.at(caller, caller.shared_arn)
        return Needs(resources=[Resource(arn=caller.shared_arn, policy=policy), *models])

    async def _invoked(
        self,
        invocation: ModelInvocation,
        model_id: str,
        *,
        service_tier: str | None,
        guardrail: tuple[str | None, str | None] | None,
    ) -> Needs:
        # A refusal is recorded, too.
        invocation.model_id, invocation.service_tier = model_id, service_tier
        target = await self._inference.target(invocation, model_id)
        caller, called = invocation.caller, target.tagged_arn
        policy = await self._policies.at(caller, called) if called else None
        return Needs(
            resources=resources(caller, target, dict(invocation.tags), policy),
            service_tier=service_tier,
            guardrail_identifier=_guardrail_arn(caller, *guardrail or (None, None)),
        )


def resources(
    caller: Caller, target: Target, tags: dict[str, str], policy: AttachedPolicy | None
) -> "list[Resource]":
    """`tags` and `policy`: those of the profile or provisioned model that is called."""
    profile, provisioned = target.inference_profile_arn, target.provisioned_model_arn
    return list(
        invoked(
            caller,
            _model_of(target),
            regions=target.regions,
            profile=Resource(arn=profile, tags=tags, policy=policy) if profile else None,
            provisioned=Resource(arn=provisioned, tags=tags, policy=policy)
            if provisioned
            else None,
        )
    )


def _model_of(target: Target) -> str:
    return target.foundation_model.model_id


def _guardrail_arn(caller: Caller, identifier: str | None, version: str | None) -> str | None:
    if identifier is None:
        return None
    if not identifier.startswith("arn:"):
        own = (caller.partition, "bedrock", caller.region, caller.account_id)
        identifier = str(Arn(*own, f"guardrail/{identifier}"))
    return identifier if version in {None, "DRAFT"} else f"{identifier}:{version}"
