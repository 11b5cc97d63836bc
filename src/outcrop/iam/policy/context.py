"""The condition keys that every AWS service knows: of who asks, from where, and of what."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Principal
from outcrop.wire.timestamps import iso8601, to_micros


class Environment(Struct, frozen=True, kw_only=True):
    """How a request came."""

    now: datetime
    source_ip: str | None = None
    """None over a unix socket."""
    is_secure: bool
    user_agent: str | None = None
    referer: str | None = None


def principal_context(principal: Principal) -> Context:
    """What stays the same as long as the credentials do."""
    issued = principal.token_issued_at
    return _known(
        {
            "aws:principalarn": principal.arn,
            "aws:principalaccount": principal.caller.account_id,
            "aws:principaltype": principal.type,
            "aws:principalisawsservice": "false",
            "aws:viaawsservice": "false",
            "aws:userid": principal.caller.user_id,
            "aws:username": principal.user_name,
            "aws:sourceidentity": principal.source_identity,
            "aws:federatedprovider": principal.federated_provider,
            "aws:tokenissuetime": issued and iso8601(issued),
            # "The key is not present" with long-term credentials.
            "aws:multifactorauthpresent": issued and _bool(principal.mfa_authenticated_at),
        }
    ) | tagged("aws:principaltag", principal.tags)


def environment_context(environment: Environment, principal: Principal) -> Context:
    now, mfa_at = environment.now, principal.mfa_authenticated_at
    return _known(
        {
            "aws:currenttime": iso8601(now),
            "aws:epochtime": str(to_micros(now) // 1_000_000),
            "aws:sourceip": environment.source_ip,
            "aws:securetransport": _bool(environment.is_secure),
            "aws:useragent": environment.user_agent,
            "aws:referer": environment.referer,
            "aws:multifactorauthage": mfa_at and str((now - mfa_at).seconds),
        }
    )


def tagged(key: str, tags: Mapping[str, str]) -> Mapping[str, str]:
    """`aws:ResourceTag/team` and its like. The tag's name has no case either."""
    return {f"{key}/{name.lower()}": value for name, value in tags.items()}


def _known(keys: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if value is not None}


def _bool(truth: object) -> str:
    return "true" if truth else "false"
