"""What is known of accounts, users, roles, policies and identity providers."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct


class AccountRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    account_name: str
    service_control: tuple[Mapping[str, str], ...] = ()
    """Policy documents by name, level by level."""
    declared: bool = False
    """In the configuration, as of all of these: it goes when it is no longer there."""


class PolicyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A managed policy."""

    document: str
    declared: bool = False


class GroupRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose policies its users have."""

    created_at: datetime
    path: str = "/"
    policies: tuple[str, ...] = ()
    inline: Mapping[str, str] = {}
    declared: bool = False


class UserRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    user_id: str
    created_at: datetime
    path: str = "/"
    """In its ARN before its name: `/team/`."""
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    """Managed policies: names of the account's own, ARNs of Amazon's."""
    inline: Mapping[str, str] = {}
    """Policy documents by name."""
    boundary: str | None = None
    """A managed policy."""
    tags: Mapping[str, str] = {}
    declared: bool = False


class RoleRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role_id: str
    created_at: datetime
    trust_policy: str
    max_session_duration_s: int = 3_600
    path: str = "/"
    policies: tuple[str, ...] = ()
    inline: Mapping[str, str] = {}
    boundary: str | None = None
    tags: Mapping[str, str] = {}
    declared: bool = False


class IdentityProviderRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OpenID Connect issuer; its name is its URL without the scheme."""

    url: str
    client_ids: tuple[str, ...]
    """Audiences that tokens may have."""
    certificate_authority: str | None = None
    """PEM of who signed the issuer's certificate, if that is nobody public."""
    declared: bool = False


IdentityRecord: TypeAlias = (
    AccountRecord | PolicyRecord | GroupRecord | UserRecord | RoleRecord | IdentityProviderRecord
)
