"""Whether the policies of a principal let it do one action on one resource, and which decides."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from outcrop.iam.policy.context import principal_context
from outcrop.iam.policy.document import Policy, PolicyKind
from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Granted, Principal
from outcrop.iam.policy.statement import Statement

MOST_REMEMBERED = 512
"""Pairs of action and resource that one Authorizer knows the statements of."""


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
    """Level by level, from the root to the account: each must allow. None in the account that
    manages the organization."""


class Access(Struct, frozen=True, kw_only=True):
    """One action on one resource."""

    action: str
    """`bedrock:InvokeModel`."""
    resource: str
    """An ARN; `*` for an action that has no resource."""
    context: Context
    resource_policy: AttachedPolicy | None = None
    resource_account_id: str | None = None
    """Whose the resource is; None: the principal's own account, or Amazon's."""


class Decision(Struct, frozen=True, kw_only=True):
    allowed: bool
    access: Access
    kind: PolicyKind | None
    """What kind of policy decided; None: an account's root user, whom nothing denies."""
    policy: AttachedPolicy | None = None
    statement: str | None = None
    """Its label. Without policy and statement: no policy of the kind allows."""

    @property
    def is_explicit(self) -> bool:
        return self.statement is not None


_Rule: TypeAlias = tuple[AttachedPolicy, Statement]
_Rules: TypeAlias = Sequence[_Rule]


class _Relevant(Struct, frozen=True, kw_only=True):
    """The statements that may apply to an action on a resource."""

    denying: _Rules
    """Of every kind; the others below allow."""
    service_control: Sequence[_Rules]
    identity: _Rules
    boundary: _Rules | None
    session: _Rules | None


class Authorizer:
    """Decides for one principal. It remembers which statements speak of what."""

    def __init__(self, principal: Principal, policies: PolicySet) -> None:
        self.principal = principal
        self.context = principal_context(principal)
        self._is_root = principal.type == "Account"
        self._policies = policies
        self._relevant: dict[tuple[str, str], _Relevant] = {}

    def decide(self, access: Access) -> Decision:
        """An explicit denial anywhere denies; else every kind that limits has to allow."""
        relevant = self._relevant_to(access.action, access.resource)
        denied = _first(relevant.denying, access) or self._denied_by_resource(access)
        if denied is not None:
            return _decided(access, denied, allowed=False)
        if not all(_first(level, access) for level in relevant.service_control):
            return _implicitly_denied(access, "service control policy")
        granted, by_resource = self._granted_by_resource(access)
        crosses = access.resource_account_id not in {None, self.principal.caller.account_id}
        if crosses and by_resource is None:
            return _implicitly_denied(access, "resource-based policy")
        if self._is_root:
            return Decision(allowed=True, access=access, kind=None)
        if by_resource is not None and granted is Granted.DIRECTLY and not crosses:
            return _decided(access, by_resource, allowed=True)
        through_issuer = by_resource if granted is Granted.THROUGH_ISSUER and not crosses else None
        return _limited(access, relevant, _first(relevant.identity, access) or through_issuer)

    def _denied_by_resource(self, access: Access) -> _Rule | None:
        for rule, granted in self._resource_rules(access):
            if rule[1].effect == "Deny" and granted is not Granted.NOT_AT_ALL:
                return rule
        return None

    def _granted_by_resource(self, access: Access) -> tuple[Granted, _Rule | None]:
        """By the statement that names the principal most directly."""
        best: tuple[Granted, _Rule | None] = (Granted.NOT_AT_ALL, None)
        for rule, granted in self._resource_rules(access):
            if rule[1].effect == "Allow" and granted > best[0]:
                best = (granted, rule)
        return best

    def _resource_rules(self, access: Access) -> Iterator[tuple[_Rule, Granted]]:
        attached = access.resource_policy
        for statement in () if attached is None else attached.policy.statements:
            if (
                attached is not None
                and statement.principals is not None
                and statement.may_apply(access.action, access.resource)
                and statement.applies(access.resource, access.context)
            ):
                yield (attached, statement), statement.principals.grants(self.principal)

    def _relevant_to(self, action: str, resource: str) -> _Relevant:
        found = self._relevant.get((action, resource))
        if found is None:
            if len(self._relevant) >= MOST_REMEMBERED:
                del self._relevant[next(iter(self._relevant))]
            found = self._relevant[action, resource] = _relevant(self._policies, action, resource)
        return found


def _relevant(policies: PolicySet, action: str, resource: str) -> _Relevant:
    def of(attached: Iterable[AttachedPolicy]) -> _Rules:
        return tuple(
            (policy, statement)
            for policy in attached
            for statement in policy.policy.statements
            if statement.may_apply(action, resource)
        )

    levels = [of(level) for level in policies.service_control]
    identity = of(policies.identity)
    boundary = None if policies.boundary is None else of([policies.boundary])
    session = None if policies.session is None else of(policies.session)
    every = (*itertools.chain(*levels), *identity, *(boundary or ()), *(session or ()))
    return _Relevant(
        denying=tuple(rule for rule in every if rule[1].effect == "Deny"),
        service_control=tuple(_allowing(level) for level in levels),
        identity=_allowing(identity),
        boundary=None if boundary is None else _allowing(boundary),
        session=None if session is None else _allowing(session),
    )


def _allowing(rules: _Rules) -> _Rules:
    return tuple(rule for rule in rules if rule[1].effect == "Allow")


def _limited(access: Access, relevant: _Relevant, allowed: _Rule | None) -> Decision:
    """What identity-based policies, or one for the role of the session, allow and others limit."""
    if allowed is None:
        return _implicitly_denied(access, "identity-based policy")
    if relevant.boundary is not None and _first(relevant.boundary, access) is None:
        return _implicitly_denied(access, "permissions boundary")
    if relevant.session is not None and _first(relevant.session, access) is None:
        return _implicitly_denied(access, "session policy")
    return _decided(access, allowed, allowed=True)


def _first(rules: _Rules, access: Access) -> _Rule | None:
    for rule in rules:
        if rule[1].applies(access.resource, access.context):
            return rule
    return None


def _decided(access: Access, rule: _Rule, *, allowed: bool) -> Decision:
    policy, statement = rule
    return Decision(
        allowed=allowed,
        access=access,
        kind=policy.policy.kind,
        policy=policy,
        statement=statement.label,
    )


def _implicitly_denied(access: Access, kind: PolicyKind) -> Decision:
    return Decision(allowed=False, access=access, kind=kind)
