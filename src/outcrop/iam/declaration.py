"""What the configuration declares of accounts, made so in the store, and nothing read in vain."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from outcrop.iam.administration import RefusedError, issuer_name, require_unattached
from outcrop.iam.api_keys import read_long_term
from outcrop.iam.config import AccessKeyConfig, AccountConfig, ApiKeyConfig, UserConfig
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.temporary_credentials import new_access_key_id
from outcrop.store.identities import ITSELF, KINDS, Editor, Identities, Place
from outcrop.store.identity_records import (
    AccountRecord,
    GroupRecord,
    IdentityProviderRecord,
    IdentityRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.timestamps import Clock

_SECRET = re.compile(r"[!-~]{16,128}")


class Declaration(Struct, frozen=True, kw_only=True):
    """A configuration's accounts, and their keys with the secrets they were given elsewhere."""

    accounts: Sequence[AccountConfig]
    keys: Sequence[AccessKeyRecord] = ()
    """Open; the store is given them sealed."""


class _UndoneError(Exception):
    """Takes a transaction back that only tried."""


def read_declaration(
    accounts: Sequence[AccountConfig], environ: Mapping[str, str], clock: Clock
) -> Declaration:
    """Raises RefusedError for a secret that is not where it should be."""
    keys = [
        key
        for account in accounts
        for user in account.users
        for key in _keys(account.account_id, user, environ, clock)
    ]
    seen: set[str] = set()
    for key in keys:
        if key.access_key_id in seen:
            raise RefusedError(f"The key {key.access_key_id} is declared twice.")
        seen.add(key.access_key_id)
    return Declaration(accounts=accounts, keys=keys)


async def declare(
    identities: Identities, sealed: SealedKeys, declaration: Declaration, clock: Clock
) -> None:
    """Makes it so, in one transaction. What was declared before and is not any more goes.

    Raises RefusedError, and then nothing has changed.
    """

    async def edit(editor: Editor) -> None:
        await _make(editor, declaration, clock)
        await _make_keys(editor, sealed, declaration.keys)

    await identities.edit(edit)


async def check_declaration(
    identities: Identities, sealed: SealedKeys, declaration: Declaration, clock: Clock
) -> None:
    """Raises RefusedError where `declare` would; changes nothing."""

    async def edit(editor: Editor) -> None:
        await _make(editor, declaration, clock)
        await _make_keys(editor, sealed, declaration.keys)
        raise _UndoneError

    with suppress(_UndoneError):
        await identities.edit(edit)


async def _make(editor: Editor, declaration: Declaration, clock: Clock) -> None:
    wanted: dict[Place, IdentityRecord] = {
        (account.account_id, type(record), name): record
        for account in declaration.accounts
        for name, record in _records(account, clock)
    }
    before = await editor.declared()
    gone = [place for place in before if place not in wanted]
    for place in gone:
        await editor.delete(*place)
    for place, record in wanted.items():
        there = before.get(place)
        if there is None:
            await _require_free(editor, place)
        again = _again(record, there)
        if again != there:
            await editor.put(place[0], place[2], again)
    for account_id, kind, name in gone:
        if kind in (PolicyRecord, GroupRecord):
            await require_unattached(editor, account_id, kind, name)


async def _require_free(editor: Editor, place: Place) -> None:
    """What a command made is not taken over unnoticed; of an account it is its name and limits."""
    account_id, kind, name = place
    if kind is not AccountRecord and await editor.exists(place):
        raise RefusedError(
            f"The {KINDS[kind]} {name} of account {account_id} is there already, made by a"
            " command: delete it before it is declared, or leave it out."
        )


def _again(record: IdentityRecord, there: IdentityRecord | None) -> IdentityRecord:
    """Who is there already stays the same one, with the same keys and sessions."""
    if isinstance(record, UserRecord) and isinstance(there, UserRecord):
        return replace(record, user_id=there.user_id, created_at=there.created_at)
    if isinstance(record, RoleRecord) and isinstance(there, RoleRecord):
        return replace(record, role_id=there.role_id, created_at=there.created_at)
    if isinstance(record, GroupRecord) and isinstance(there, GroupRecord):
        return replace(record, created_at=there.created_at)
    return record


async def _make_keys(editor: Editor, sealed: SealedKeys, wanted: Sequence[AccessKeyRecord]) -> None:
    before = await editor.keys.declared()
    ids = {key.access_key_id for key in wanted}
    for key_id in before:
        if key_id not in ids:
            await editor.keys.delete(key_id)
    for key in wanted:
        stored = before.get(key.access_key_id)
        if stored is None:
            await _put_new_key(editor, sealed, key)
            continue
        there = sealed.opened(stored)
        again = replace(key, created_at=there.created_at, last_used_at=there.last_used_at)
        if again != there:
            await editor.keys.put(sealed.closed(again))


async def _put_new_key(editor: Editor, sealed: SealedKeys, key: AccessKeyRecord) -> None:
    if await editor.keys.find(key.access_key_id) is not None:
        raise RefusedError(
            f"The key {key.access_key_id} is there already, made by a command: delete it before it"
            " is declared, or leave it out."
        )
    await editor.keys.put(sealed.closed(key))


def _keys(
    account_id: str, user: UserConfig, environ: Mapping[str, str], clock: Clock
) -> Iterator[AccessKeyRecord]:
    for key in user.access_keys:
        yield AccessKeyRecord(
            account_id=account_id,
            access_key_id=key.access_key_id,
            secret_access_key=_secret_access_key(key, environ),
            created_at=clock(),
            user_name=user.user_name,
            status=key.status,
            declared=True,
        )
    for api_key in user.api_keys:
        key_id, secret = _api_key(user.user_name, api_key, environ)
        yield AccessKeyRecord(
            account_id=account_id,
            access_key_id=key_id,
            secret_access_key=secret,
            created_at=clock(),
            user_name=user.user_name,
            status=api_key.status,
            region=api_key.region,
            expires_at=api_key.expires_at,
            declared=True,
        )


def _secret_access_key(key: AccessKeyConfig, environ: Mapping[str, str]) -> str:
    whose = f"access key {key.access_key_id}"
    secret = _read(whose, key.secret_access_key_env, key.secret_access_key_file, environ)
    if not _SECRET.fullmatch(secret):
        raise RefusedError(f"{whose}: its secret is not of 16 to 128 printable characters.")
    return secret


def _api_key(user_name: str, key: ApiKeyConfig, environ: Mapping[str, str]) -> tuple[str, str]:
    whose = f"API key of {user_name}"
    named = read_long_term(_read(whose, key.api_key_env, key.api_key_file, environ))
    if named is None or not all(map(_SECRET.fullmatch, named)):
        raise RefusedError(f"{whose}: what is there is no long-term API key (ABSK…).")
    return named


def _read(whose: str, variable: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """No error quotes what was read."""
    if variable is not None:
        secret = environ.get(variable, "").strip()
        where = f"the environment variable {variable}"
    else:
        assert file is not None
        where = f"the file {file}"
        try:
            secret = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RefusedError(f"{whose}: {where} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RefusedError(f"{whose}: {where} is not text.") from None
    if not secret:
        raise RefusedError(f"{whose}: {where} is empty or not there.")
    return secret


def _records(account: AccountConfig, clock: Clock) -> Iterator[tuple[str, IdentityRecord]]:
    level = account.service_control_policies
    yield (
        ITSELF,
        AccountRecord(
            account_name=account.account_name,
            service_control=(level,) if level else (),
            declared=True,
        ),
    )
    for name, text in account.policies.items():
        yield name, PolicyRecord(document=text, declared=True)
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
    yield from _holders(account, clock)


def _holders(account: AccountConfig, clock: Clock) -> Iterator[tuple[str, IdentityRecord]]:
    for group in account.groups:
        yield (
            group.group_name,
            GroupRecord(
                created_at=clock(), path=group.path, policies=group.policies, declared=True
            ),
        )
    for user in account.users:
        yield (
            user.user_name,
            UserRecord(
                user_id=new_access_key_id("AIDA"),
                created_at=clock(),
                path=user.path,
                groups=user.groups,
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
                path=role.path,
                policies=role.policies,
                boundary=role.boundary,
                tags=role.tags,
                declared=True,
            ),
        )
