"""What an operator changes of accounts, users, groups, roles, policies, issuers and keys."""

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from outcrop.iam.managed_policies import document_of, is_of_aws, known_arns
from outcrop.iam.policy.document import PolicyKind, parse
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.temporary_credentials import new_access_key_id, new_secret_access_key
from outcrop.store.errors import QuotaReachedError
from outcrop.store.identities import ITSELF, KINDS, Editor, Identities, R
from outcrop.store.identity_records import (
    AccountRecord,
    GroupRecord,
    IdentityProviderRecord,
    IdentityRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.store.records import AccessKeyRecord, KeyStatus
from outcrop.wire.errors import MalformedPolicyDocument
from outcrop.wire.timestamps import Clock

MOST_KEYS = 2
"""Of one user, as on AWS: one in use, and the next one while keys are rotated."""
MOST_ROOT_KEYS = 8
MOST_GROUPS = 10
"""Of one user, as on AWS."""

_NAME = re.compile(r"[A-Za-z0-9+=,.@_-]{1,64}")
_PATH = re.compile(r"/([!-~]{1,510}/)?")


class RefusedError(Exception):
    """The change does not fit what is there; the text says why."""


class NewIdentity(Struct, frozen=True, kw_only=True):
    """What users, groups and roles have in common."""

    account_id: str
    name: str
    path: str = "/"
    policies: tuple[str, ...] = ()
    inline: Mapping[str, str] = {}
    boundary: str | None = None
    tags: Mapping[str, str] = {}


class Administration:
    """All of these raise RefusedError or StoreError; `put` creates or replaces."""

    def __init__(self, identities: Identities, keys: SealedKeys, clock: Clock) -> None:
        self._identities = identities
        self._keys = keys
        self._clock = clock

    async def put_account(
        self, account_id: str | None, name: str, service_control: tuple[Mapping[str, str], ...]
    ) -> str:
        """Its id, a new one if none is given."""
        account_id = account_id or str(10**11 + secrets.randbelow(9 * 10**11))
        _check_account_id(account_id)
        for level in service_control:
            for policy, text in level.items():
                check_document(policy, text, "service control policy")
        record = AccountRecord(account_name=name, service_control=service_control)
        await self._put(account_id, ITSELF, record)
        return account_id

    async def put_policy(self, account_id: str, name: str, text: str) -> None:
        check_document(name, text, "identity-based policy")
        check_name(name)
        await self._put(account_id, name, PolicyRecord(document=text))

    async def delete_policy(self, account_id: str, name: str) -> None:
        async def edit(editor: Editor) -> None:
            await _delete(editor, account_id, PolicyRecord, name)
            await require_unattached(editor, account_id, PolicyRecord, name)

        await self._identities.edit(edit)

    async def put_group(self, new: NewIdentity) -> None:
        async def edit(editor: Editor) -> None:
            await _check_identity(editor, new)
            there = await editor.find(new.account_id, GroupRecord, new.name)
            _require_own(there, new.name)
            record = GroupRecord(
                created_at=there.created_at if there else self._clock(),
                path=new.path,
                policies=new.policies,
                inline=new.inline,
            )
            await editor.put(new.account_id, new.name, record)

        await self._identities.edit(edit)

    async def delete_group(self, account_id: str, name: str) -> None:
        async def edit(editor: Editor) -> None:
            await _delete(editor, account_id, GroupRecord, name)
            await require_unattached(editor, account_id, GroupRecord, name)

        await self._identities.edit(edit)

    async def put_user(self, new: NewIdentity, *, groups: tuple[str, ...] = ()) -> None:
        if len(groups) > MOST_GROUPS:
            raise RefusedError(f"A user is in {MOST_GROUPS} groups at most.")

        async def edit(editor: Editor) -> None:
            await _check_identity(editor, new)
            for group in groups:
                _require(await editor.find(new.account_id, GroupRecord, group), f"group {group}")
            there = await editor.find(new.account_id, UserRecord, new.name)
            _require_own(there, new.name)
            record = UserRecord(
                user_id=there.user_id if there else new_access_key_id("AIDA"),
                created_at=there.created_at if there else self._clock(),
                path=new.path,
                groups=groups,
                policies=new.policies,
                inline=new.inline,
                boundary=new.boundary,
                tags=new.tags,
            )
            await editor.put(new.account_id, new.name, record)

        await self._identities.edit(edit)

    async def put_role(
        self, new: NewIdentity, *, trust_policy: str, max_session_duration_s: int = 3_600
    ) -> None:
        check_document("the trust policy", trust_policy, "role trust policy")
        if not 3_600 <= max_session_duration_s <= 43_200:
            raise RefusedError("A session lasts 3600 to 43200 seconds at most.")

        async def edit(editor: Editor) -> None:
            await _check_identity(editor, new)
            there = await editor.find(new.account_id, RoleRecord, new.name)
            _require_own(there, new.name)
            record = RoleRecord(
                role_id=there.role_id if there else new_access_key_id("AROA"),
                created_at=there.created_at if there else self._clock(),
                trust_policy=trust_policy,
                max_session_duration_s=max_session_duration_s,
                path=new.path,
                policies=new.policies,
                inline=new.inline,
                boundary=new.boundary,
                tags=new.tags,
            )
            await editor.put(new.account_id, new.name, record)

        await self._identities.edit(edit)

    async def delete_user(self, account_id: str, name: str) -> None:
        """Its keys go with it."""
        await self._identities.edit(lambda editor: _delete(editor, account_id, UserRecord, name))

    async def delete_role(self, account_id: str, name: str) -> None:
        """Sessions of it end at once."""
        await self._identities.edit(lambda editor: _delete(editor, account_id, RoleRecord, name))

    async def put_issuer(self, account_id: str, issuer: IdentityProviderRecord) -> None:
        if not issuer.url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise RefusedError("An issuer's URL begins with https://")
        if not issuer.client_ids:
            raise RefusedError("An issuer needs an audience that its tokens may have.")
        await self._put(account_id, issuer_name(issuer.url), issuer)

    async def delete_issuer(self, account_id: str, url: str) -> None:
        name = issuer_name(url)
        await self._identities.edit(
            lambda editor: _delete(editor, account_id, IdentityProviderRecord, name)
        )

    async def _put(self, account_id: str, name: str, record: R) -> None:
        async def edit(editor: Editor) -> None:
            _require_own(await editor.find(account_id, type(record), name), name or account_id)
            await editor.put(account_id, name, record)

        await self._identities.edit(edit)

    async def create_key(self, account_id: str, user_name: str | None) -> AccessKeyRecord:
        """With its secret, which nobody is told again."""
        return await self._create(
            AccessKeyRecord(
                account_id=account_id,
                access_key_id=new_access_key_id("AKIA"),
                secret_access_key=new_secret_access_key(),
                created_at=self._clock(),
                user_name=user_name,
            )
        )

    async def create_api_key(
        self, account_id: str, user_name: str, *, region: str, expires_at: datetime | None
    ) -> AccessKeyRecord:
        suffix = secrets.token_hex(4)
        return await self._create(
            AccessKeyRecord(
                account_id=account_id,
                access_key_id=f"BedrockAPIKey-{suffix}-at-{account_id}",
                secret_access_key=new_secret_access_key(),
                created_at=self._clock(),
                user_name=user_name,
                region=region,
                expires_at=expires_at,
            )
        )

    async def set_key_status(self, access_key_id: str, status: KeyStatus) -> None:
        async def edit(editor: Editor) -> None:
            key = await _own_key(editor, access_key_id)
            await editor.keys.put(replace(key, status=status))

        await self._identities.edit(edit)

    async def delete_key(self, access_key_id: str) -> None:
        async def edit(editor: Editor) -> None:
            await _own_key(editor, access_key_id)
            await editor.keys.delete(access_key_id)

        await self._identities.edit(edit)

    async def _create(self, key: AccessKeyRecord) -> AccessKeyRecord:
        if key.user_name is not None:
            user = await self._identities.find(key.account_id, UserRecord, key.user_name)
            _require(user, f"user {key.user_name}")
        elif key.account_id not in await self._identities.accounts():
            raise RefusedError(f"There is no account {key.account_id}.")
        most = MOST_ROOT_KEYS if key.user_name is None else 2 * MOST_KEYS
        try:
            await self._keys.add(key, most=most)
        except QuotaReachedError:
            raise RefusedError(f"There are {most} keys already: delete one first.") from None
        return key


def check_document(name: str, text: str, kind: PolicyKind) -> None:
    try:
        parse(text, kind)
    except MalformedPolicyDocument as error:
        raise RefusedError(f"{name}: {error.message}") from error


def check_name(name: str) -> None:
    """IAM's letters for names."""
    if not _NAME.fullmatch(name):
        raise RefusedError(f"{name!r} is no name: letters, digits and +=,.@_- , 64 at most.")


def issuer_name(url: str) -> str:
    """As its ARN has it, and its condition keys."""
    return url.partition("://")[2].rstrip("/")


async def require_unattached(
    editor: Editor, account_id: str, kind: type[IdentityRecord], name: str
) -> None:
    """Raises RefusedError while anybody has the policy, or is in the group."""
    users = await editor.all(account_id, UserRecord)
    if kind is GroupRecord:
        for holder, user in users.items():
            if name in user.groups:
                raise RefusedError(f"{holder} is in the group {name}.")
        return
    holders: dict[str, UserRecord | RoleRecord] = {**users}
    holders |= await editor.all(account_id, RoleRecord)
    for holder, record in holders.items():
        if name in {*record.policies, record.boundary}:
            raise RefusedError(f"The policy {name} is attached to {holder}.")
    for group, group_record in (await editor.all(account_id, GroupRecord)).items():
        if name in group_record.policies:
            raise RefusedError(f"The policy {name} is attached to the group {group}.")


async def _delete(editor: Editor, account_id: str, kind: type[R], name: str) -> None:
    there = await editor.find(account_id, kind, name)
    _require(there, f"{KINDS[kind]} {name}")
    _require_own(there, name)
    await editor.delete(account_id, kind, name)


async def _own_key(editor: Editor, access_key_id: str) -> AccessKeyRecord:
    key = await editor.keys.find(access_key_id)
    if key is None:
        raise RefusedError("There is no such key.")
    _require_own(key, access_key_id)
    return key


def _require_own(record: IdentityRecord | AccessKeyRecord | None, name: str) -> None:
    """A change of what is declared would be undone when the configuration is next read."""
    if record is not None and record.declared:
        raise RefusedError(f"{name} is declared in the configuration: change it there.")


async def _check_identity(editor: Editor, new: NewIdentity) -> None:
    check_name(new.name)
    if not _PATH.fullmatch(new.path):
        raise RefusedError(f"{new.path!r} is no path: it begins and ends with /, as /team/.")
    if new.account_id not in await editor.accounts():
        raise RefusedError(f"There is no account {new.account_id}.")
    for name, text in new.inline.items():
        check_document(name, text, "identity-based policy")
    await _check_attached(editor, new.account_id, [*new.policies, *filter(None, [new.boundary])])


async def _check_attached(editor: Editor, account_id: str, policies: Iterable[str]) -> None:
    for policy in policies:
        if not is_of_aws(policy):
            _require(await editor.find(account_id, PolicyRecord, policy), f"policy {policy}")
        elif document_of(policy) is None:
            known = "\n  ".join(known_arns())
            raise RefusedError(
                f"There is no policy {policy}. The account's own are named without an ARN, and"
                f" these of AWS's are known:\n  {known}"
            )


def _require(record: object, what: str) -> None:
    if record is None:
        raise RefusedError(f"There is no {what} in this account.")


def _check_account_id(account_id: str) -> None:
    if not (len(account_id) == 12 and account_id.isascii() and account_id.isdigit()):
        raise RefusedError(f"{account_id!r} is no account id: twelve digits.")
