"""Accounts and who is in them, as the configuration declares them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from outcrop.iam.administration import MOST_KEYS
from outcrop.iam.managed_policies import document_of, is_of_aws
from outcrop.iam.policy.document import PolicyKind, parse
from outcrop.store.records import KeyStatus
from outcrop.wire.errors import MalformedPolicyDocument

AccountId = Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+=,.@_-]{1,64}\Z")]
NamePath = Annotated[str, Meta(pattern=r"\A/([!-~]{1,510}/)?\Z")]
KeyId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]{16,128}\Z")]
Region = Annotated[str, Meta(pattern=r"\A[a-z]{2,8}(-[a-z]{1,16}){1,4}-[0-9]{1,2}\Z")]
SessionSeconds = Annotated[int, Meta(ge=3_600, le=43_200)]
AwareTime = Annotated[datetime, Meta(tz=True)]

NO_SECRETS_HERE = (
    "a secret does not belong into this file, which is copied, shown and kept in version control:"
    " name the environment variable or the file that holds it, with {name}_env or {name}_file"
)


class AccessKeyConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    access_key_id: KeyId
    secret_access_key_env: str | None = None
    secret_access_key_file: str | None = None
    secret_access_key: str | None = None  # always refused, and the reason told
    status: KeyStatus = "Active"

    def __post_init__(self) -> None:
        _require_place(
            "secret_access_key",
            self.secret_access_key,
            self.secret_access_key_env,
            self.secret_access_key_file,
        )

    def __repr__(self) -> str:
        return f"AccessKeyConfig({self.access_key_id!r})"


class ApiKeyConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: Region
    api_key_env: str | None = None
    api_key_file: str | None = None
    api_key: str | None = None  # always refused, and the reason told
    expires_at: AwareTime | None = None
    status: KeyStatus = "Active"

    def __post_init__(self) -> None:
        _require_place("api_key", self.api_key, self.api_key_env, self.api_key_file)

    def __repr__(self) -> str:
        return f"ApiKeyConfig({self.api_key_env or self.api_key_file!r})"


class GroupConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    group_name: Name
    path: NamePath = "/"
    policies: tuple[str, ...] = ()


class UserConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_name: Name
    path: NamePath = "/"
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    boundary: str | None = None
    tags: dict[str, str] = {}
    access_keys: tuple[AccessKeyConfig, ...] = ()
    api_keys: tuple[ApiKeyConfig, ...] = ()

    def __post_init__(self) -> None:
        if max(len(self.access_keys), len(self.api_keys)) > MOST_KEYS:
            raise ValueError(f"a user has {MOST_KEYS} keys of a kind at most")


class RoleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role_name: Name
    path: NamePath = "/"
    trust_policy: str
    max_session_duration_s: SessionSeconds = 3_600
    policies: tuple[str, ...] = ()
    boundary: str | None = None
    tags: dict[str, str] = {}

    def __post_init__(self) -> None:
        _check(f"the trust policy of {self.role_name}", self.trust_policy, "role trust policy")


class IssuerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(pattern=r"\A(https://|http://(127\.0\.0\.1|localhost):)\S+\Z")]
    client_ids: tuple[str, ...]
    certificate_authority: str | None = None


class AccountConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account_id: AccountId
    account_name: str = ""
    service_control_policies: dict[str, str] = {}
    policies: dict[Name, str] = {}
    groups: tuple[GroupConfig, ...] = ()
    users: tuple[UserConfig, ...] = ()
    roles: tuple[RoleConfig, ...] = ()
    issuers: tuple[IssuerConfig, ...] = ()

    def __post_init__(self) -> None:
        for policy, text in self.service_control_policies.items():
            _check(policy, text, "service control policy")
        for policy, text in self.policies.items():
            _check(policy, text, "identity-based policy")
        _require_once("user", (user.user_name for user in self.users))
        _require_once("role", (role.role_name for role in self.roles))
        _require_once("group", (group.group_name for group in self.groups))
        self._check_attached()
        names = {group.group_name for group in self.groups}
        for user in self.users:
            for group in user.groups:
                if group not in names:
                    raise ValueError(f"there is no group {group} among the account's `groups`")

    def _check_attached(self) -> None:
        for group in self.groups:
            self._require_policies(group.policies)
        holders: list[UserConfig | RoleConfig] = [*self.users, *self.roles]
        for holder in holders:
            self._require_policies([*holder.policies, *filter(None, [holder.boundary])])

    def _require_policies(self, policies: Iterable[str]) -> None:
        for policy in policies:
            if is_of_aws(policy):
                if document_of(policy) is None:
                    raise ValueError(
                        f"there is no policy {policy} among those of AWS's that are known"
                    )
            elif policy not in self.policies:
                raise ValueError(f"there is no policy {policy} among the account's `policies`")


def check_accounts(accounts: Sequence[AccountConfig]) -> None:
    """Raises ValueError for what is declared twice."""
    _require_once("account", (account.account_id for account in accounts))
    _require_once(
        "access key",
        (
            key.access_key_id
            for account in accounts
            for user in account.users
            for key in user.access_keys
        ),
    )


def _require_once(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {kind} {name} is declared twice")
        seen.add(name)


def _require_place(name: str, secret: str | None, env: str | None, file: str | None) -> None:
    """Of a secret: in the environment or in a file, and nowhere else."""
    if secret is not None:
        raise ValueError(NO_SECRETS_HERE.format(name=name))
    if (env is None) == (file is None):
        raise ValueError(f"needs {name}_env or {name}_file, and not both")


def _check(name: str, text: str, kind: PolicyKind) -> None:
    try:
        parse(text, kind)
    except MalformedPolicyDocument as error:
        raise ValueError(f"{name}: {error.message}") from error
