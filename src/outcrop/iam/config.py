"""Accounts and their identities as the configuration declares them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from outcrop.iam.administration import issuer_name
from outcrop.iam.policy.document import PolicyKind, parse
from outcrop.iam.temporary_credentials import new_access_key_id
from outcrop.store.identities import ITSELF, Editor, Identities
from outcrop.store.identity_records import (
    AccountRecord,
    IdentityProviderRecord,
    IdentityRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.wire.errors import MalformedPolicyDocument
from outcrop.wire.timestamps import Clock

AccountId = Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+=,.@_-]{1,64}\Z")]
SessionSeconds = Annotated[int, Meta(ge=3_600, le=43_200)]


class UserConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_name: Name
    policies: tuple[str, ...] = ()
    boundary: str | None = None
    tags: dict[str, str] = {}


class RoleConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role_name: Name
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
    users: tuple[UserConfig, ...] = ()
    roles: tuple[RoleConfig, ...] = ()
    issuers: tuple[IssuerConfig, ...] = ()

    def __post_init__(self) -> None:
        for policy, text in self.service_control_policies.items():
            _check(policy, text, "service control policy")
        for policy, text in self.policies.items():
            _check(policy, text, "identity-based policy")
        holders: list[UserConfig | RoleConfig] = [*self.users, *self.roles]
        for holder in holders:
            names = [*holder.policies, *filter(None, [holder.boundary])]
            for name in names:
                if name not in self.policies:
                    raise ValueError(f"there is no policy {name} among the account's `policies`")


async def declare(
    identities: Identities, accounts: Sequence[AccountConfig], *, clock: Clock
) -> None:
    """Makes them so, in one transaction. What was declared before and is not any more goes."""

    async def edit(editor: Editor) -> None:
        wanted = {
            (account.account_id, type(record), name): record
            for account in accounts
            for name, record in _records(account, clock)
        }
        for account_id in await editor.accounts():
            await _remove(editor, account_id, wanted)
        for (account_id, _, name), record in wanted.items():
            await editor.put(account_id, name, await _kept(editor, account_id, name, record))

    await identities.edit(edit)


async def _remove(
    editor: Editor,
    account_id: str,
    wanted: Mapping[tuple[str, type[IdentityRecord], str], IdentityRecord],
) -> None:
    there: list[tuple[str, IdentityRecord]] = [
        *(await editor.all(account_id, PolicyRecord)).items(),
        *(await editor.all(account_id, UserRecord)).items(),
        *(await editor.all(account_id, RoleRecord)).items(),
        *(await editor.all(account_id, IdentityProviderRecord)).items(),
        *(await editor.all(account_id, AccountRecord)).items(),
    ]
    for name, record in there:
        if record.declared and (account_id, type(record), name) not in wanted:
            await editor.delete(account_id, type(record), name)


async def _kept(
    editor: Editor, account_id: str, name: str, record: IdentityRecord
) -> IdentityRecord:
    """Who is there already stays the same one, with the same keys and sessions."""
    if isinstance(record, UserRecord):
        user = await editor.find(account_id, UserRecord, name)
        return record if user is None else _again(record, user)
    if isinstance(record, RoleRecord):
        role = await editor.find(account_id, RoleRecord, name)
        return record if role is None else _role_again(record, role)
    return record


def _again(record: UserRecord, there: UserRecord) -> UserRecord:
    return replace(record, user_id=there.user_id, created_at=there.created_at)


def _role_again(record: RoleRecord, there: RoleRecord) -> RoleRecord:
    return replace(record, role_id=there.role_id, created_at=there.created_at)


def _records(account: AccountConfig, clock: Clock) -> Iterator[tuple[str, IdentityRecord]]:
    level = account.service_control_policies
    name = account.account_name
    yield (
        ITSELF,
        AccountRecord(account_name=name, service_control=(level,) if level else (), declared=True),
    )
    for name, text in account.policies.items():
        yield name, PolicyRecord(document=text, declared=True)
    for user in account.users:
        yield (
            user.user_name,
            UserRecord(
                user_id=new_access_key_id("AIDA"),
                created_at=clock(),
                policies=user.policies,
                boundary=user.boundary,
                tags=user.tags,
                declared=True,
            ),
        )
    for role in account.roles:
        yield (
            role.role_name,
            RoleRecord(
                role_id=new_access_key_id("AROA"),
                created_at=clock(),
                trust_policy=role.trust_policy,
                max_session_duration_s=role.max_session_duration_s,
                policies=role.policies,
                boundary=role.boundary,
                tags=role.tags,
                declared=True,
            ),
        )
    for issuer in account.issuers:
        yield (
            issuer_name(issuer.url),
            IdentityProviderRecord(
                url=issuer.url.rstrip("/"),
                client_ids=issuer.client_ids,
                certificate_authority=issuer.certificate_authority,
                declared=True,
            ),
        )


def _check(name: str, text: str, kind: PolicyKind) -> None:
    try:
        parse(text, kind)
    except MalformedPolicyDocument as error:
        raise ValueError(f"{name}: {error.message}") from error
