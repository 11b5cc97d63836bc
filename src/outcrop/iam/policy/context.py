"""The condition keys that every AWS service knows: of who asks, from where, and of what."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from outcrop.iam.policy.patterns import Context
from outcrop.iam.policy.principal import Principal
from outcrop.wire.timestamps import iso8601, to_micros

_CONSTANT = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principaltype",
        "aws:viaawsservice",
        "aws:userid",
        "aws:username",
        "aws:sourceidentity",
        "aws:federatedprovider",
        "aws:tokenissuetime",
        "aws:multifactorauthpresent",
        "aws:requestedregion",
        "aws:resourceaccount",
        "bedrock:inferenceprofilearn",
    }
)


def is_constant(key: str) -> bool:
    """Whether a key says the same whenever one principal asks for one resource in one way."""
    return key in _CONSTANT or key.startswith("aws:principaltag/")


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
    issued_at = principal.token_issued_at
    keys = {
        "aws:principalarn": principal.arn,
        "aws:principalaccount": principal.caller.account_id,
        "aws:principaltype": principal.type,
        "aws:principalisawsservice": "false",
        "aws:viaawsservice": "false",
        "aws:userid": principal.caller.user_id,
        "aws:username": principal.user_name,
        "aws:sourceidentity": principal.source_identity,
        "aws:federatedprovider": principal.federated_provider,
    }
    if issued_at is not None:
        # Not of long-term credentials.
        keys["aws:tokenissuetime"] = iso8601(issued_at)
        keys["aws:multifactorauthpresent"] = _bool(principal.mfa_authenticated_at is not None)
    return {**_known(keys), **tagged("aws:principaltag", principal.tags)}


def environment_context(environment: Environment, principal: Principal) -> Context:
    now, mfa_at = environment.now, principal.mfa_authenticated_at
    keys = {
        "aws:currenttime": iso8601(now),
        "aws:epochtime": str(to_micros(now) // 1_000_000),
        "aws:sourceip": environment.source_ip,
        "aws:securetransport": _bool(environment.is_secure),
        "aws:useragent": environment.user_agent,
        "aws:referer": environment.referer,
    }
    if mfa_at is not None:
        keys["aws:multifactorauthage"] = str(int((now - mfa_at).total_seconds()))
    return _known(keys)


def tagged(key: str, tags: Mapping[str, str]) -> Mapping[str, str]:
    """`aws:ResourceTag/team` and its like. The tag's name has no case either."""
    return {f"{key}/{name.lower()}": value for name, value in tags.items()}


def _known(keys: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in keys.items() if value is not None}


def _bool(truth: bool) -> str:  # noqa: FBT001 - it is all there is
    return "true" if truth else "false"
