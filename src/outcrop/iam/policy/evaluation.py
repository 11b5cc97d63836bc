"""Whether the policies of a principal let it do one action on one resource, and which decides."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from outcrop.iam.policy.context import principal_context
from outcrop.iam.policy.document import PolicyKind
from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import (
    Access,
    AttachedPolicy,
    PolicySet,
    RelevantRules,
    ResourceRules,
    Rule,
    Rules,
    relevant_rules,
    resource_rules,
)

MOST_REMEMBERED = 64
"""Actions on resources of which an Authorizer knows the rules."""
MOST_PRINCIPALS = 1_024


class Decision(Struct, frozen=True, kw_only=True):
    allowed: bool
    access: Access
    kind: PolicyKind | None
    """What kind of policy decided; None: an account's root user, whom its account lets do all."""
    policy: AttachedPolicy | None = None
    """With it, a statement decided; without, none of the kind allows."""
    statement: str | None = None
    """Its label."""


class Authorizer:
    """Decides for one principal, with the policies of one moment. Remembers what is relevant."""

    def __init__(self, principal: Principal, policies: PolicySet) -> None:
        self.principal = principal
        self._is_root = principal.type == "Account"
        self.is_unrestricted = self._is_root and not policies.service_control
        """Nothing limits it within its own account."""
        self._context = principal_context(principal)
        if principal.type == "FederatedUser" and policies.session is None:
            # A federated user can do nothing but what session policies allow.
            policies = msgspec.structs.replace(policies, session=())
        self._policies = policies
        self._relevant: dict[tuple[str, str, tuple[tuple[str, str], ...]], _Relevant] = {}

    def decide(self, access: Access) -> Decision:
        """An explicit denial anywhere denies; else every kind that limits has to allow."""
        relevant, by_resource, _ = self._relevant_to(access)
        asked = _Asked(access, relevant)
        denied = asked.first(relevant.denying) or asked.first(by_resource.denying)
        if denied is not None:
            return _decided(access, denied, allowed=False)
        for level in relevant.service_control:
            if asked.first(level) is None:
                return _implicitly_denied(access, "service control policy")
        owner = access.resource_account_id
        if owner is not None and owner != self.principal.caller.account_id:
            return self._across_accounts(asked, by_resource)
        return self._within_account(asked, by_resource)

    def _within_account(self, asked: "_Asked", by_resource: ResourceRules) -> Decision:
        trust = asked.access.resource_policy
        if trust is not None and trust.policy.kind == "role trust policy":
            # Unlike other resources a role has to be opened by its own policy.
            if not asked.named(by_resource):
                return _implicitly_denied(asked.access, "role trust policy")
        elif self._is_root:
            return Decision(allowed=True, access=asked.access, kind=None)
        directly = asked.first(by_resource.directly)
        if directly is not None:
            return _decided(asked.access, directly, allowed=True)
        return asked.limited(
            asked.first(asked.relevant.identity) or asked.first(by_resource.through_issuer)
        )

    def _across_accounts(self, asked: "_Asked", by_resource: ResourceRules) -> Decision:
        """Both accounts have to allow: the resource's in its policy, the principal's as ever."""
        if not asked.named(by_resource):
            attached = asked.access.resource_policy
            kind = "resource-based policy" if attached is None else attached.policy.kind
            return _implicitly_denied(asked.access, kind)
        if self._is_root:
            return Decision(allowed=True, access=asked.access, kind=None)
        return asked.limited(asked.first(asked.relevant.identity))

    def _relevant_to(self, access: Access) -> "_Relevant":
        key = (access.action, access.resource, access.constant)
        found = self._relevant.get(key)
        if found is not None and found.attached is access.resource_policy:
            return found
        if found is None and len(self._relevant) >= MOST_REMEMBERED:
            del self._relevant[next(iter(self._relevant))]
        rules = self._rules_for(access) if found is None else found.rules
        by_resource = resource_rules(self.principal, access, rules.constant)
        found = self._relevant[key] = _Relevant(rules, by_resource, access.resource_policy)
        return found

    def _rules_for(self, access: Access) -> RelevantRules:
        constant = {**self._context, **dict(access.constant)}
        return relevant_rules(self._policies, access, constant)


class _Relevant(NamedTuple):
    """To one action on one resource, while its policy is the same."""

    rules: RelevantRules
    by_resource: ResourceRules
    attached: AttachedPolicy | None


class Authorizers:
    """The Authorizers of those who called lately. A version stands for a principal's policies."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Authorizer]] = {}

    def of(self, key: str, version: int, make: Callable[[], Authorizer]) -> Authorizer:
        """`key` tells credentials apart: sessions of one role differ in tags and policies."""
        known = self._known.get(key)
        if known is not None and known[0] == version:
            return known[1]
        if known is None and len(self._known) >= MOST_PRINCIPALS:
            del self._known[next(iter(self._known))]
        made = make()
        self._known[key] = (version, made)
        return made


class _Asked:
    """An access that is being decided; its whole context is made when first needed."""

    def __init__(self, access: Access, relevant: RelevantRules) -> None:
        self.access = access
        self.relevant = relevant
        self._context: Context | None = None

    def first(self, rules: Rules) -> Rule | None:
        """The first of the rules that applies."""
        if not rules:
            return None
        if self._context is None:
            self._context = {**self.relevant.constant, **self.access.context}
        for rule in rules:
            if rule.applies(self.access.resource, self._context):
                return rule
        return None

    def named(self, rules: ResourceRules) -> bool:
        """Whether a policy at the resource allows, however it names the principal."""
        kinds = (rules.directly, rules.through_issuer, rules.through_account)
        return any(self.first(found) is not None for found in kinds)

    def limited(self, allowed: Rule | None) -> Decision:
        """What identity-based policies allow, as far as boundary and session policies do too."""
        if allowed is None:
            return _implicitly_denied(self.access, "identity-based policy")
        boundary, session = self.relevant.boundary, self.relevant.session
        if boundary is not None and self.first(boundary) is None:
            return _implicitly_denied(self.access, "permissions boundary")
        if session is not None and self.first(session) is None:
            return _implicitly_denied(self.access, "session policy")
        return _decided(self.access, allowed, allowed=True)


def _decided(access: Access, rule: Rule, *, allowed: bool) -> Decision:
    return Decision(
        allowed=allowed,
        access=access,
        kind=rule.policy.policy.kind,
        policy=rule.policy,
        statement=rule.statement.label,
    )


def _implicitly_denied(access: Access, kind: PolicyKind) -> Decision:
    return Decision(allowed=False, access=access, kind=kind)
