"""Resource policies: who may use an application profile or a provisioned model, said at itself.

Amazon has them at guardrails; here they are at what can be shared here (docs/decisions, 17).
"""

from collections.abc import Callable

from outcrop.control.touched import TagsOf
from outcrop.iam.access import Needs, Resource
from outcrop.iam.actions import ACTIONS
from outcrop.iam.caller import Caller
from outcrop.iam.policy.document import parse
from outcrop.iam.policy.statement import Statement
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.store.errors import ResourceGoneError
from outcrop.store.resource_policies import ResourcePolicies as ResourcePolicyRecords
from outcrop.wire.arn import Arn
from outcrop.wire.errors import (
    MalformedPolicyDocument,
    ResourceNotFoundException,
    ValidationException,
)
from outcrop.wire.shapes.bedrock import (
    DeleteResourcePolicyRequest,
    DeleteResourcePolicyResponse,
    GetResourcePolicyRequest,
    GetResourcePolicyResponse,
    PutResourcePolicyRequest,
    PutResourcePolicyResponse,
)

SHAREABLE = frozenset({"application-inference-profile", "provisioned-model"})


class SharedResources:
    def __init__(
        self,
        records: ResourcePolicyRecords,
        policies: ResourcePolicies,
        *,
        tags_of: TagsOf,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is told of every change: this process's next request follows it."""
        self._records = records
        self._policies = policies
        self._tags_of = tags_of
        self._changed = changed

    async def touched(
        self,
        caller: Caller,
        request: PutResourcePolicyRequest | GetResourcePolicyRequest | DeleteResourcePolicyRequest,
    ) -> Needs:
        arn = request.resource_arn
        if _parsed(arn) is None:
            return Needs()
        # Nobody is locked out for good: a policy has no say when the root user changes it.
        policy = None if caller.is_root else await self._policies.at(caller, arn)
        tags = dict(await self._tags_of(arn))
        return Needs(resources=[Resource(arn=arn, tags=tags, policy=policy)])

    async def put_resource_policy(
        self, caller: Caller, request: PutResourcePolicyRequest
    ) -> PutResourcePolicyResponse:
        arn = _own(caller, request.resource_arn)
        _check(request.resource_policy, arn)
        try:
            await self._records.put(str(arn), request.resource_policy)
        except ResourceGoneError:
            # ResourceNotFoundException is modelled for the other two alone.
            raise _invalid() from None
        self._changed()
        return PutResourcePolicyResponse(resource_arn=request.resource_arn)

    async def get_resource_policy(
        self, caller: Caller, request: GetResourcePolicyRequest
    ) -> GetResourcePolicyResponse:
        arn = _own(caller, request.resource_arn)
        document = await self._records.find(str(arn))
        if document is None:
            raise _not_found(arn)
        return GetResourcePolicyResponse(resource_policy=document)

    async def delete_resource_policy(
        self, caller: Caller, request: DeleteResourcePolicyRequest
    ) -> DeleteResourcePolicyResponse:
        arn = _own(caller, request.resource_arn)
        if not await self._records.delete(str(arn)):
            raise _not_found(arn)
        self._changed()
        return DeleteResourcePolicyResponse()


def _own(caller: Caller, resource_arn: str) -> Arn:
    """Raises ValidationException for what is not the caller's, or has no policies here."""
    arn, own = _parsed(resource_arn), (caller.partition, "bedrock", caller.region)
    if arn is None or arn != Arn(*own, caller.account_id, arn.resource):
        raise _invalid()
    if arn.resource_type not in SHAREABLE:
        raise ValidationException(
            "The provided resource type doesn't support resource policies. They can be attached to"
            " application inference profiles and provisioned models."
        )
    return arn


def _parsed(text: str) -> Arn | None:
    try:
        return Arn.parse(text)
    except ValueError:
        return None


def _check(document: str, arn: Arn) -> None:
    """Raises ValidationException: what IAM's grammar refuses, and what could never apply."""
    try:
        policy = parse(document, "resource-based policy")
    except MalformedPolicyDocument as error:
        raise ValidationException(error.message) from error
    for statement in policy.statements:
        _check_statement(statement, arn)


def _check_statement(statement: Statement, arn: Arn) -> None:
    if statement.resources.cover(str(arn)) is False:
        raise ValidationException(
            f"Policy has invalid resource: it must be or cover {arn} - at `$.{statement.label}`"
        )
    if not any(map(statement.actions.cover, _ACTIONS[arn.resource_type])):
        raise ValidationException(
            f"Action does not apply to any resource(s) in statement - at `$.{statement.label}`"
        )


def _actions_on(resource_type: str) -> frozenset[str]:
    own = (action.name for action in ACTIONS.values() if resource_type in action.resource_types)
    # Through what is shared, tokens are counted too.
    return frozenset({*own, ACTIONS["CountTokens"].name})


_ACTIONS = {resource_type: _actions_on(resource_type) for resource_type in SHAREABLE}


def _invalid() -> ValidationException:
    return ValidationException("The provided resource ARN is invalid.")


def _not_found(arn: Arn) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"No resource policy was found for {arn}.")
