"""What `outcrop accounts`, `users`, `groups`, `roles`, `policies`, `keys` and so on do.

They change the store that the configuration names, whether a server runs on it or not; one that
does sees it within half a second.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from outcrop.iam.administration import Administration, NewIdentity, RefusedError
from outcrop.iam.api_keys import long_term_key
from outcrop.iam.directory import Directory
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.sealing import SealError
from outcrop.iam.sealing_keys import ensure_sealer
from outcrop.server.clock import utc_now
from outcrop.server.config import Config, ConfigurationError
from outcrop.store.catalogue import Catalogue
from outcrop.store.errors import StoreError
from outcrop.store.identities import ITSELF
from outcrop.store.identity_records import (
    AccountRecord,
    GroupRecord,
    IdentityProviderRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.store.store import Store, open_store

DENIED = 2
"""Exit code of a check that says no; 1 is of one that could not be made."""

Command = Callable[["Desk", argparse.Namespace], Awaitable[Sequence[str]]]


class Desk:
    """Where an operator's orders are taken."""

    def __init__(self, config: Config, store: Store, keys: SealedKeys) -> None:
        self.config = config
        self.store = store
        self.keys = keys
        self.administration = Administration(store.identities, keys, utc_now)
        self.exit_code = 0

    async def account_id(self, options: argparse.Namespace) -> str:
        """As given, or the installation's first."""
        if options.account:
            return str(options.account)
        root = [key for key in await self.store.access_keys.all() if key.user_name is None]
        if not root:
            raise RefusedError("There is no account yet: the first `outcrop serve` makes one.")
        return min(root, key=lambda key: key.created_at).account_id


@asynccontextmanager
async def opened(config: Config) -> AsyncGenerator[Desk]:
    sealer = ensure_sealer(config.state, os.environ)
    location = config.database_url or config.sqlite_path
    async with open_store(location, clock=utc_now) as store:
        yield Desk(config, store, SealedKeys(store.access_keys, sealer))


def run(config: Config, options: argparse.Namespace) -> tuple[Sequence[str], int]:
    """The lines to print, and the exit code. Raises ConfigurationError."""

    async def main() -> tuple[Sequence[str], int]:
        async with opened(config) as desk:
            return await COMMANDS[options.command, options.verb](desk, options), desk.exit_code

    try:
        return asyncio.run(main())
    except (RefusedError, SealError, StoreError, OSError) as error:
        raise ConfigurationError(str(error)) from error


async def _put_account(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    level = dict(options.service_control_policy)
    account_id = await desk.administration.put_account(
        options.account, options.name, (level,) if level else ()
    )
    return [f"account {account_id}"]


async def _accounts(desk: Desk, _: argparse.Namespace) -> Sequence[str]:
    lines: list[str] = []
    for account_id in await desk.store.identities.accounts():
        record = await desk.store.identities.find(account_id, AccountRecord, ITSELF)
        lines.append(f"{account_id}  {record.account_name if record else ''}".rstrip())
    return lines


async def _group(desk: Desk, options: argparse.Namespace) -> NewIdentity:
    return NewIdentity(
        account_id=await desk.account_id(options),
        name=options.name,
        path=options.path,
        policies=tuple(options.policy),
        inline=dict(options.inline),
    )


async def _identity(desk: Desk, options: argparse.Namespace) -> NewIdentity:
    new = await _group(desk, options)
    return replace(new, boundary=options.boundary, tags=dict(options.tag))


async def _put_user(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    new = await _identity(desk, options)
    await desk.administration.put_user(new, groups=tuple(options.group))
    return [f"arn:aws:iam::{new.account_id}:user{new.path}{new.name}"]


async def _delete_user(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_user(await desk.account_id(options), options.name)
    return []


async def _users(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    users = await desk.store.identities.all(await desk.account_id(options), UserRecord)
    return [f"{name}  {', '.join(user.policies)}".rstrip() for name, user in users.items()]


async def _put_group(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    new = await _group(desk, options)
    await desk.administration.put_group(new)
    return [f"arn:aws:iam::{new.account_id}:group{new.path}{new.name}"]


async def _delete_group(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_group(await desk.account_id(options), options.name)
    return []


async def _groups(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    groups = await desk.store.identities.all(await desk.account_id(options), GroupRecord)
    return [f"{name}  {', '.join(group.policies)}".rstrip() for name, group in groups.items()]


async def _put_role(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    new = await _identity(desk, options)
    await desk.administration.put_role(
        new, trust_policy=options.trust, max_session_duration_s=options.max_session_s
    )
    return [f"arn:aws:iam::{new.account_id}:role{new.path}{new.name}"]


async def _delete_role(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_role(await desk.account_id(options), options.name)
    return []


async def _roles(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    roles = await desk.store.identities.all(await desk.account_id(options), RoleRecord)
    return [f"{name}  {', '.join(role.policies)}".rstrip() for name, role in roles.items()]


async def _put_policy(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    account_id = await desk.account_id(options)
    await desk.administration.put_policy(account_id, options.name, options.document)
    return [f"arn:aws:iam::{account_id}:policy/{options.name}"]


async def _delete_policy(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_policy(await desk.account_id(options), options.name)
    return []


async def _policies(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    return list(await desk.store.identities.all(await desk.account_id(options), PolicyRecord))


async def _put_issuer(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    issuer = IdentityProviderRecord(
        url=options.name.rstrip("/"),
        client_ids=tuple(options.client_id),
        certificate_authority=options.certificate_authority,
    )
    await desk.administration.put_issuer(await desk.account_id(options), issuer)
    return []


async def _delete_issuer(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_issuer(await desk.account_id(options), options.name)
    return []


async def _issuers(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    account_id = await desk.account_id(options)
    found = await desk.store.identities.all(account_id, IdentityProviderRecord)
    return [issuer.url for issuer in found.values()]


async def _create_key(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    account_id = await desk.account_id(options)
    if not options.bearer:
        key = await desk.administration.create_key(account_id, options.user)
        return [
            f"aws_access_key_id = {key.access_key_id}",
            f"aws_secret_access_key = {key.secret_access_key}",
        ]
    if options.user is None:
        raise RefusedError("An API key needs a --user.")
    days = options.expires_days
    key = await desk.administration.create_api_key(
        account_id,
        options.user,
        region=options.region or desk.config.region,
        expires_at=None if days is None else utc_now() + timedelta(days=days),
    )
    return [f"AWS_BEARER_TOKEN_BEDROCK={long_term_key(key)}"]


async def _disable_key(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.set_key_status(options.name, "Inactive")
    return []


async def _enable_key(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.set_key_status(options.name, "Active")
    return []


async def _delete_key(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    await desk.administration.delete_key(options.name)
    return []


async def _keys(desk: Desk, _: argparse.Namespace) -> Sequence[str]:
    """Never their secrets."""
    listed = [
        {
            "accountId": key.account_id,
            "userName": key.user_name,
            "keyId": key.access_key_id,
            "status": key.status,
            "region": key.region,
            "createdAt": key.created_at,
            "expiresAt": key.expires_at,
            "lastUsedAt": key.last_used_at,
            "declared": key.declared,
        }
        for key in await desk.store.access_keys.all()
    ]
    return [
        msgspec.json.encode({name: value for name, value in row.items() if value}).decode()
        for row in listed
    ]


async def _reseal(desk: Desk, _: argparse.Namespace) -> Sequence[str]:
    return [f"{await desk.keys.reseal()} keys were sealed anew"]


async def _check_policy(desk: Desk, options: argparse.Namespace) -> Sequence[str]:
    # It knows what operations ask for; nobody else here waits for that to be imported.
    from outcrop.server.policy_check import (  # noqa: PLC0415
        Question,
        as_json,
        as_text,
        check,
    )

    principal = str(options.principal)
    if not principal.startswith("arn:"):
        account_id = await desk.account_id(options)
        user = await desk.store.identities.find(account_id, UserRecord, principal)
        path = user.path if user else "/"
        principal = f"arn:aws:iam::{account_id}:user{path}{principal}"
    question = Question(
        principal=principal,
        model_id=options.model,
        region=options.region or desk.config.region,
        operation=options.operation,
        service_tier=options.service_tier,
        source_ip=options.source_ip,
    )
    checked = await check(
        desk.store,
        Directory(desk.store.identities, desk.keys),
        Catalogue(custom_models=desk.config.custom_models),
        question,
        utc_now(),
    )
    desk.exit_code = 0 if all(one.allowed for one in checked) else DENIED
    return [as_json(checked)] if options.json else list(as_text(question, checked))


COMMANDS: Mapping[tuple[str, str], Command] = {
    ("accounts", "put"): _put_account,
    ("accounts", "list"): _accounts,
    ("users", "put"): _put_user,
    ("users", "delete"): _delete_user,
    ("users", "list"): _users,
    ("groups", "put"): _put_group,
    ("groups", "delete"): _delete_group,
    ("groups", "list"): _groups,
    ("roles", "put"): _put_role,
    ("roles", "delete"): _delete_role,
    ("roles", "list"): _roles,
    ("policies", "put"): _put_policy,
    ("policies", "delete"): _delete_policy,
    ("policies", "list"): _policies,
    ("issuers", "put"): _put_issuer,
    ("issuers", "delete"): _delete_issuer,
    ("issuers", "list"): _issuers,
    ("keys", "create"): _create_key,
    ("keys", "disable"): _disable_key,
    ("keys", "enable"): _enable_key,
    ("keys", "delete"): _delete_key,
    ("keys", "list"): _keys,
    ("keys", "reseal"): _reseal,
    ("policy", "check"): _check_policy,
}
