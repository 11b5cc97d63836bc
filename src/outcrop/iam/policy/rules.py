"""Of all statements that speak of a principal, those that matter to one action on one resource."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from outcrop.iam.policy.conditions import Condition
from outcrop.iam.policy.context import is_constant
from outcrop.iam.policy.document import Policy
from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Granted, Principal
from outcrop.iam.policy.statement import Resources, Statement


class AttachedPolicy(Struct, frozen=True, kw_only=True):
    name: str
    policy: Policy
    arn: str | None = None
    """None of an inline policy."""


class PolicySet(Struct, frozen=True, kw_only=True):
    """What speaks of one principal. None of a kind: it does not limit."""

    identity: Sequence[AttachedPolicy] = ()
    """The user's own and its groups'; the role's."""
    boundary: AttachedPolicy | None = None
    session: Sequence[AttachedPolicy] | None = None
    """Of a session that was made with policies; any of them may allow."""
    service_control: Sequence[Sequence[AttachedPolicy]] = ()
    """Level by level, from the root to the account: each has to allow. None in the account that
    manages the organization."""


class Access(Struct, frozen=True, kw_only=True):
    """One action on one resource."""

    action: str
    """`bedrock:InvokeModel`."""
    resource: str
    """An ARN; `*` for an action that has no resource."""
    constant: tuple[tuple[str, str], ...] = ()
    """The keys of the resource that `is_constant`."""
    context: Context
    """All other keys but the principal's."""
    resource_policy: AttachedPolicy | None = None
    resource_account_id: str | None = None
    """Whose the resource is; None: the principal's own account, or Amazon's."""


class Rule(Struct, frozen=True, kw_only=True):
    """A statement, as far as action, resource and constant keys leave it open."""

    policy: AttachedPolicy
    statement: Statement
    resources: Resources | None
    """None: they cover the resource."""
    conditions: tuple[Condition, ...]

    def applies(self, resource: str, context: Context) -> bool:
        if self.resources is not None and not self.resources.cover_in(resource, context):
            return False
        for condition in self.conditions:  # noqa: SIM110 - a generator costs twice as much
            if not condition.met(context):
                return False
        return True


Rules: TypeAlias = Sequence[Rule]


class RelevantRules(Struct, frozen=True, kw_only=True):
    constant: Context
    denying: Rules
    """Of every kind; the others below allow."""
    service_control: Sequence[Rules]
    identity: Rules
    boundary: Rules | None
    session: Rules | None


class ResourceRules(Struct, frozen=True, kw_only=True):
    """What the policy at a resource says of a principal; those that allow, by how they name it."""

    denying: Rules = ()
    directly: Rules = ()
    through_issuer: Rules = ()
    through_account: Rules = ()


def relevant_rules(policies: PolicySet, access: Access, constant: Context) -> RelevantRules:
    def of(attached: Iterable[AttachedPolicy]) -> Rules:
        return tuple(_rules(attached, access, constant))

    levels = [of(level) for level in policies.service_control]
    identity = of(policies.identity)
    boundary = None if policies.boundary is None else of([policies.boundary])
    session = None if policies.session is None else of(policies.session)
    every = (*itertools.chain(*levels), *identity, *(boundary or ()), *(session or ()))
    return RelevantRules(
        constant=constant,
        denying=tuple(rule for rule in every if rule.statement.effect == "Deny"),
        service_control=tuple(_allowing(level) for level in levels),
        identity=_allowing(identity),
        boundary=None if boundary is None else _allowing(boundary),
        session=None if session is None else _allowing(session),
    )


def resource_rules(principal: Principal, access: Access, constant: Context) -> ResourceRules:
    if access.resource_policy is None:
        return _NO_RESOURCE_RULES
    named = [
        (rule, rule.statement.principals.grants(principal))
        for rule in _rules([access.resource_policy], access, constant)
        if rule.statement.principals is not None
    ]

    def granted(how: Granted) -> Rules:
        return _allowing(rule for rule, found in named if found is how)

    return ResourceRules(
        denying=tuple(
            rule
            for rule, found in named
            if rule.statement.effect == "Deny" and found is not Granted.NOT_AT_ALL
        ),
        directly=granted(Granted.DIRECTLY),
        through_issuer=granted(Granted.THROUGH_ISSUER),
        through_account=granted(Granted.THROUGH_ACCOUNT),
    )


def names(policy: AttachedPolicy, principal: Principal, constant: Context) -> bool:
    """Whether a statement allows the principal something, as far as constant keys tell."""
    return any(
        statement.effect == "Allow"
        and statement.principals is not None
        and statement.principals.grants(principal) is not Granted.NOT_AT_ALL
        and _may_be_met(statement, constant)
        for statement in policy.policy.statements
    )


_NO_RESOURCE_RULES = ResourceRules()


def _rules(attached: Iterable[AttachedPolicy], access: Access, constant: Context) -> Iterator[Rule]:
    for policy in attached:
        for statement in policy.policy.statements:
            if not statement.actions.cover(access.action):
                continue
            rule = _narrowed(policy, statement, access.resource, constant)
            if rule is not None:
                yield rule


def _narrowed(
    policy: AttachedPolicy, statement: Statement, resource: str, constant: Context
) -> Rule | None:
    """None when the statement never applies."""
    resources: Resources | None = statement.resources
    covers = statement.resources.cover(resource)
    if covers is None and all(map(is_constant, statement.resources.keys)):
        covers = statement.resources.cover_in(resource, constant)
    if covers is False:
        return None
    if not _may_be_met(statement, constant):
        return None
    return Rule(
        policy=policy,
        statement=statement,
        resources=None if covers else resources,
        conditions=tuple(
            met for met in statement.conditions if not all(map(is_constant, met.keys))
        ),
    )


def _may_be_met(statement: Statement, constant: Context) -> bool:
    settled = [met for met in statement.conditions if all(map(is_constant, met.keys))]
    return all(condition.met(constant) for condition in settled)


def _allowing(rules: Iterable[Rule]) -> Rules:
    return tuple(rule for rule in rules if rule.statement.effect == "Allow")
