"""What a line of the audit trail says: CloudTrail's record, and what of a call is told in it.

AWS CloudTrail User Guide, "CloudTrail record contents" and "CloudTrail userIdentity element"; IAM
User Guide, "Logging IAM and AWS STS API calls with AWS CloudTrail"; CloudWatch User Guide,
"Logging Amazon CloudWatch API and console operations with AWS CloudTrail".
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, cast, get_type_hints

from msgspec import Meta, Struct, field, structs, to_builtins

from outcrop.iam.caller import Caller
from outcrop.wire.shape import Shape
from outcrop.wire.timestamps import iso8601

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
"""In the place of what the service model calls sensitive, and of a session token."""

_TYPES = {
    "root": "Root",
    "user": "IAMUser",
    "assumed-role": "AssumedRole",
    "oidc-provider": "WebIdentityUser",
}
_LOWER_CAMEL = frozenset({"monitoring", "sts"})
"""Services whose members CloudTrail does not spell as they do; Cost Explorer's it does."""
_UNTOLD = frozenset({"SecretAccessKey", "TokenCode", "WebIdentityToken"})


class SessionIssuer(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    type: Literal["Role"]
    principal_id: str
    arn: str
    account_id: str
    user_name: str


class SessionAttributes(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    creation_date: str
    mfa_authenticated: Literal["false"]


class SessionContext(
    Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False
):
    session_issuer: SessionIssuer | None = None
    """None: a user, who got the session by GetSessionToken."""
    attributes: SessionAttributes


class UserIdentity(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    type: str
    principal_id: str
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    user_name: str | None = None
    identity_provider: str | None = None
    session_context: SessionContext | None = None


class AuditedResource(
    Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False
):
    account_id: str | None = None
    type: str | None = None
    arn: str | None = field(name="ARN", default=None)


class AuditRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    event_version: str
    user_identity: UserIdentity
    event_time: str
    event_source: str
    event_name: str
    aws_region: str
    source_ip_address: str | None = field(name="sourceIPAddress", default=None)
    user_agent: str | None
    error_code: str | None = None
    error_message: str | None = None
    request_parameters: Mapping[str, str] | None
    response_elements: None
    additional_event_data: Mapping[str, str | bool] | None = None
    request_id: str = field(name="requestID")
    event_id: str = field(name="eventID")
    read_only: bool
    event_type: Literal["AwsApiCall"]
    management_event: bool
    recipient_account_id: str
    resources: tuple[AuditedResource, ...] | None = None
    shared_event_id: str | None = field(name="sharedEventID", default=None)
    event_category: Literal["Management", "Data"]


def identity_of(caller: Caller, access_key_id: str | None) -> UserIdentity:
    kind, _, rest = caller.arn.split(":", 5)[5].partition("/")
    if kind == "oidc-provider":
        return UserIdentity(
            type=_TYPES[kind],
            principal_id=f"{caller.arn}:{caller.audience}:{caller.user_id}",
            user_name=caller.user_id,
            identity_provider=caller.arn,
        )
    return UserIdentity(
        type=_TYPES.get(kind, "Unknown"),
        principal_id=caller.user_id,
        arn=caller.arn,
        account_id=caller.account_id,
        access_key_id=access_key_id,
        user_name=rest.rpartition("/")[2] if kind == "user" else None,
        session_context=_session_of(caller),
    )


def identity_elsewhere(caller: Caller) -> UserIdentity:
    """What the account of a role is told of who assumes it from another account."""
    return UserIdentity(
        type="AWSAccount", principal_id=caller.user_id, account_id=caller.account_id
    )


def _session_of(caller: Caller) -> SessionContext | None:
    """Nobody signs in with a second factor here."""
    issued_at, role_arn = caller.issued_at, caller.role_arn
    if issued_at is None:
        return None
    issuer = role_arn and SessionIssuer(
        type="Role",
        principal_id=caller.user_id.partition(":")[0],
        arn=role_arn,
        account_id=caller.account_id,
        user_name=role_arn.rpartition("/")[2],
    )
    return SessionContext(
        session_issuer=issuer or None,
        attributes=SessionAttributes(
            creation_date=iso8601(issued_at.replace(microsecond=0)), mfa_authenticated="false"
        ),
    )


def shown(value: Shape | None, signing_name: str) -> Any:
    """An input or output of a service as it is told: with what is secret hidden, or left out."""
    if value is None:
        return None
    if signing_name in _LOWER_CAMEL:
        return _lower_camel(to_builtins(value, builtin_types=(datetime,)))
    hidden = {name: HIDDEN for name in _sensitive(type(value)) if getattr(value, name) is not None}
    return structs.replace(value, **hidden) if hidden else value


def _lower_camel(value: Any) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {
            name[:1].lower() + name[1:]: HIDDEN if name == "SessionToken" else _lower_camel(part)
            for name, part in members.items()
            if name not in _UNTOLD
        }
    if isinstance(value, list):
        return [_lower_camel(part) for part in cast("list[object]", value)]
    return _in_words(value) if isinstance(value, datetime) else value


def _in_words(moment: datetime) -> str:
    """`Jul 9, 2024, 4:41:37 PM`: so these services' dates are told."""
    utc = moment.astimezone(UTC)
    return f"{utc:%b} {utc.day}, {utc.year}, {utc.hour % 12 or 12}:{utc:%M:%S %p}"


@lru_cache(maxsize=1_024)
def _sensitive(kind: type[Shape]) -> Sequence[str]:
    """The members that the service model calls so."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(name for name, hint in hints.items() if _is_sensitive(hint))


def _is_sensitive(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    if any(isinstance(mark, Meta) and (mark.extra or {}).get("sensitive") for mark in marks):
        return True
    return any(_is_sensitive(part) for part in getattr(hint, "__args__", ()))
