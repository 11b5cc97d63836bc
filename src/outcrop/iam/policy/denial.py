"""A denial in Amazon's words, and what the server's log says of a decision."""

from collections.abc import Mapping

from outcrop.iam.policy.document import PolicyKind
from outcrop.iam.policy.evaluation import Decision
from outcrop.iam.policy.principal import Principal
from outcrop.wire.errors import AccessDeniedException

# As in the IAM User Guide, "Troubleshoot access denied error messages".
_EXPLICIT: Mapping[PolicyKind, str] = {
    "identity-based policy": "an identity-based policy",
    "permissions boundary": "a permissions boundary",
    "session policy": "a session policy",
    "service control policy": "a service control policy",
    "resource-based policy": "a resource-based policy",
    "role trust policy": "the role trust policy",
}
# What has no resource is denied "on" nothing, but this is seen with "on resource: *".
_ON_EVERYTHING = "bedrock:CallWithBearerToken"


def access_denied(principal: Principal, decision: Decision) -> AccessDeniedException:
    """Of a decision that denies. The answer names no statement: `statement_of` is for the log."""
    action, resource = decision.access.action, decision.access.resource
    on = f" on resource: {resource}" if resource != "*" or action == _ON_EVERYTHING else ""
    return AccessDeniedException(
        f"User: {principal.caller.arn} is not authorized to perform: {action}{on}"
        f" {_because(decision)}"
    )


def statement_of(decision: Decision) -> str:
    """What decided: `identity-based policy AllowNova, statement Invoke`."""
    if decision.kind is None:
        return "an account's root user is allowed everything"
    if decision.policy is None:
        return f"no {decision.kind} allows it"
    return (
        f"{decision.kind} {decision.policy.arn or decision.policy.name},"
        f" statement {decision.statement}"
    )


def _because(decision: Decision) -> str:
    assert decision.kind is not None
    if decision.policy is None:
        return f"because no {decision.kind} allows the {decision.access.action} action"
    # Inline policies are not named.
    named = f": {decision.policy.arn}" if decision.policy.arn else ""
    return f"with an explicit deny in {_EXPLICIT[decision.kind]}{named}"
