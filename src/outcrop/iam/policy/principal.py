"""Who asks, and whom a resource-based policy names."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Literal, TypeAlias

from msgspec import Struct

from outcrop.iam.caller import Caller

PrincipalType: TypeAlias = Literal["Account", "User", "AssumedRole", "FederatedUser"]
"""As in `aws:PrincipalType`. `Account` is an account's root user."""

_TYPES: Mapping[str, PrincipalType] = {
    "root": "Account",
    "user": "User",
    "assumed-role": "AssumedRole",
    "federated-user": "FederatedUser",
    "oidc-provider": "FederatedUser",
}


class Principal(Struct, frozen=True, kw_only=True):
    caller: Caller
    issuer_arn: str | None = None
    """Of a session: the role that was assumed, or the user who federated."""
    tags: Mapping[str, str] = {}
    """The user's, or the role's overlaid with the session's."""
    token_issued_at: datetime | None = None
    """Of temporary credentials."""
    mfa_authenticated_at: datetime | None = None
    source_identity: str | None = None
    federated_provider: str | None = None

    @property
    def type(self) -> PrincipalType:
        """Raises KeyError when the caller's ARN is none of a principal."""
        return _TYPES[self.caller.arn.split(":", 5)[5].partition("/")[0]]

    @property
    def is_federated(self) -> bool:
        """Whether it stands for whoever an identity provider vouches for."""
        return ":oidc-provider/" in self.caller.arn

    @property
    def user_name(self) -> str | None:
        return self.caller.arn.rpartition("/")[2] if self.type == "User" else None

    @property
    def arn(self) -> str:
        """As in `aws:PrincipalArn`: a session's is its role's."""
        return self.issuer_arn or self.caller.arn

    @property
    def account_arn(self) -> str:
        return f"arn:{self.caller.partition}:iam::{self.caller.account_id}:root"


class Granted(IntEnum):
    """How directly a resource-based policy names a principal."""

    NOT_AT_ALL = 0
    THROUGH_ACCOUNT = 1
    """The account is named: its identity-based policies decide."""
    THROUGH_ISSUER = 2
    """The role of the session is named: boundary and session policies still limit."""
    DIRECTLY = 3
    """Implicit denials elsewhere do not matter within the account."""


class Principals(Struct, frozen=True, kw_only=True):
    """A `Principal` element, or a `NotPrincipal`."""

    named: frozenset[str]
    """What stands under `AWS`: ARNs, account ids and `*`. Services never call here."""
    federated: frozenset[str] = frozenset()
    """What stands under `Federated`: ARNs of identity providers."""
    excluded: bool = False

    def grants(self, principal: Principal) -> Granted:
        if principal.is_federated:
            named = principal.caller.arn in self.federated
            return Granted.DIRECTLY if named is not self.excluded else Granted.NOT_AT_ALL
        if self.excluded:
            return Granted.NOT_AT_ALL if self._all_named(principal) else Granted.DIRECTLY
        if "*" in self.named or principal.caller.arn in self.named:
            return Granted.DIRECTLY
        if principal.arn in self.named:
            return Granted.THROUGH_ISSUER
        return Granted.THROUGH_ACCOUNT if self._names_account(principal) else Granted.NOT_AT_ALL

    def _names_account(self, principal: Principal) -> bool:
        return principal.account_arn in self.named or principal.caller.account_id in self.named

    def _all_named(self, principal: Principal) -> bool:
        """NotPrincipal spares only whom it names together with role and account."""
        if "*" in self.named:
            return True
        names = {principal.caller.arn, principal.arn} - {principal.account_arn}
        return names <= self.named and self._names_account(principal)
