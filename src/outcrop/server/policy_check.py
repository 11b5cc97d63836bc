"""`outcrop policy check`: would this call pass, Region by Region, and which statement decides."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from outcrop.fleet.fleet import Fleet
from outcrop.iam.access import AuthorizationRequest, accesses
from outcrop.iam.actions import ACTIONS, MODEL
from outcrop.iam.administration import RefusedError
from outcrop.iam.authenticator import Identified
from outcrop.iam.directory import Directory
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.denial import statement_of
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.runtime.target import Targets
from outcrop.runtime.touched import resources
from outcrop.store.catalogue import Catalogue
from outcrop.store.store import Store
from outcrop.wire.arn import Arn
from outcrop.wire.errors import AwsError

OPERATIONS = ("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream")
ANY_REGION = "any Region"


class Question(Struct, frozen=True, kw_only=True):
    principal: str
    """ARN of a user, a role or an account's root user."""
    model_id: str
    region: str
    operation: str
    service_tier: str | None = None
    source_ip: str | None = None


class Checked(Struct, frozen=True, kw_only=True, rename="camel"):
    """One of the permissions that the call needs."""

    region: str
    action: str
    resource: str
    allowed: bool
    decided_by: str


async def check(
    store: Store, directory: Directory, catalogue: Catalogue, question: Question, now: datetime
) -> Sequence[Checked]:
    """Raises RefusedError for a principal or model that is not there."""
    if question.operation not in OPERATIONS:
        raise RefusedError(f"--operation is one of {', '.join(OPERATIONS)}")
    authorizer = await directory.named(question.principal, question.region)
    if authorizer is None:
        raise RefusedError(f"There is no user or role {question.principal}.")
    policies = ResourcePolicies(store.resource_policies, lambda: 0)
    named = Identified(authorizer=authorizer)
    caller = (await policies.reaching(named, {"modelId": question.model_id})).caller
    targets = Targets(
        catalogue, Fleet([], None), store.inference_profiles, store.provisioned_model_throughputs
    )
    try:
        target = await targets.resolve(caller, question.model_id)
    except AwsError as error:
        raise RefusedError(f"{question.model_id}: {error.message}") from error
    tags = dict(await store.tags.current(target.tagged_arn)) if target.tagged_arn else {}
    policy = await policies.at(caller, target.tagged_arn) if target.tagged_arn else None
    asked = AuthorizationRequest(
        operation=question.operation,
        environment=Environment(now=now, source_ip=question.source_ip, is_secure=True),
        resources=resources(caller, target, tags, policy),
        service_tier=question.service_tier,
    )
    decisions = [authorizer.decide(one) for one in accesses(asked, authorizer.principal)]
    return [
        Checked(
            region=_region(decision.access.resource),
            action=decision.access.action,
            resource=decision.access.resource,
            allowed=decision.allowed,
            decided_by=statement_of(decision),
        )
        for decision in decisions
    ]


def as_json(checked: Sequence[Checked]) -> str:
    passes = all(one.allowed for one in checked)
    return msgspec.json.encode({"allowed": passes, "needed": checked}).decode()


def as_text(question: Question, checked: Sequence[Checked]) -> Iterator[str]:
    for one in checked:
        yield f"{'allowed' if one.allowed else 'DENIED ':8} {one.region:<16} {one.resource}"
        yield f"{'':25} {one.decided_by}"
    verdict = "passes" if all(one.allowed for one in checked) else "is denied"
    action = ACTIONS[question.operation].name
    yield f"{question.operation} ({action}) of {question.model_id} {verdict}"


def _region(resource: str) -> str:
    arn = Arn.parse(resource)
    return arn.region or (ANY_REGION if arn.resource_type == MODEL else "")
