"""Who the holder of a credential is, and which policies speak of it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from msgspec.structs import replace

from outcrop.iam.caller import Caller
from outcrop.iam.managed_policies import document_of, is_of_aws
from outcrop.iam.policy.document import Policy, PolicyKind, parse
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import AttachedPolicy, PolicySet
from outcrop.iam.temporary_credentials import Session
from outcrop.store.errors import StoreError
from outcrop.store.identities import ITSELF, R
from outcrop.store.identity_records import (
    AccountRecord,
    GroupRecord,
    IdentityProviderRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.arn import Arn, partition_of

_PARSED = 8_192
_ANY_LENGTH = 1 << 20
"""How long a document may be was looked at when it was written."""


class Identities(Protocol):
    async def version(self) -> int: ...
    async def find(self, account_id: str, kind: type[R], name: str) -> R | None: ...


class AccessKeys(Protocol):
    async def find(self, access_key_id: str) -> AccessKeyRecord | None: ...


class Directory:
    def __init__(self, identities: Identities, keys: AccessKeys) -> None:
        self._identities = identities
        self._keys = keys

    async def version(self) -> int:
        """Another one after every change."""
        return await self._identities.version()

    async def key(self, access_key_id: str) -> AccessKeyRecord | None:
        return await self._keys.find(access_key_id)

    async def holder(self, key: AccessKeyRecord, region: str) -> Authorizer | None:
        """None: the user is gone."""
        if key.user_name is None:
            return await self._root(Principal(caller=root(key.account_id, region)))
        user = await self._identities.find(key.account_id, UserRecord, key.user_name)
        if user is None:
            return None
        caller = user_caller(key.account_id, key.user_name, user, region)
        return await self._user(Principal(caller=caller, tags=user.tags), user)

    async def session(self, session: Session, region: str) -> Authorizer | None:
        """None: the role or user is gone, or is another one of the same name."""
        if session.kind == "role":
            return await self._role_session(session, region)
        if session.kind == "root":
            caller = root(session.account_id, region)
            caller = replace(caller, issued_at=session.issued_at)
            return await self._root(Principal(caller=caller, token_issued_at=session.issued_at))
        user = await self._identities.find(session.account_id, UserRecord, session.name)
        if user is None or user.user_id != session.identity_id:
            return None
        caller = user_caller(session.account_id, session.name, user, region)
        principal = Principal(
            caller=replace(caller, issued_at=session.issued_at),
            tags=user.tags,
            token_issued_at=session.issued_at,
        )
        return await self._user(principal, user)

    async def named(self, arn: str, region: str) -> Authorizer | None:
        """As if somebody called with the identity's credentials; a role in a session of it."""
        try:
            found = Arn.parse(arn)
        except ValueError:
            return None
        match found.resource_type if found.service == "iam" else "":
            case "root":
                return await self._root(Principal(caller=root(found.account_id, region)))
            case "role":
                return await self._named_role(found, region)
            case "user":
                return await self._named_user(found, region)
            case _:
                return None

    async def _named_role(self, arn: Arn, region: str) -> Authorizer | None:
        name = name_of(arn)
        role = await self.role(arn.account_id, name)
        if role is None or arn.resource != f"role{role.path}{name}":
            return None
        return await self._role_session(_checking(arn.account_id, name, role), region)

    async def _named_user(self, arn: Arn, region: str) -> Authorizer | None:
        name = name_of(arn)
        user = await self._identities.find(arn.account_id, UserRecord, name)
        if user is None or arn.resource != f"user{user.path}{name}":
            return None
        caller = user_caller(arn.account_id, name, user, region)
        return await self._user(Principal(caller=caller, tags=user.tags), user)

    async def role(self, account_id: str, name: str) -> RoleRecord | None:
        return await self._identities.find(account_id, RoleRecord, name)

    async def issuer(self, account_id: str, name: str) -> IdentityProviderRecord | None:
        return await self._identities.find(account_id, IdentityProviderRecord, name)

    async def managed(self, account_id: str, name: str) -> str | None:
        """The document of a managed policy: the account's by name, AWS's by ARN."""
        if is_of_aws(name):
            return document_of(name)
        found = await self._identities.find(account_id, PolicyRecord, name)
        return None if found is None else found.document

    async def _role_session(self, session: Session, region: str) -> Authorizer | None:
        role = await self.role(session.account_id, session.name)
        if role is None or role.role_id != session.identity_id:
            return None
        partition = partition_of(region)
        arn = role_arn(partition, session.account_id, session.name, role)
        principal = Principal(
            caller=Caller(
                account_id=session.account_id,
                arn=f"arn:{partition}:sts::{session.account_id}:assumed-role/{session.assumed}",
                user_id=f"{session.identity_id}:{session.session_name}",
                region=region,
                partition=partition,
                issued_at=session.issued_at,
                role_arn=arn,
                transitive_tags=tuple((key, session.tags[key]) for key in session.transitive),
            ),
            issuer_arn=arn,
            tags={**role.tags, **session.tags},
            token_issued_at=session.issued_at,
            source_identity=session.source_identity,
            federated_provider=session.federated_provider,
        )
        return await self._user(principal, role, await self._session_policies(session, principal))

    async def _session_policies(
        self, session: Session, principal: Principal
    ) -> list[AttachedPolicy]:
        inline = [_inline("session policy", text, "session policy") for text in session.policies]
        named = [
            await self._managed(principal.caller, name, "session policy")
            for name in session.managed
        ]
        return inline + named

    async def _root(self, principal: Principal) -> Authorizer:
        levels = await self._service_control(principal.caller.account_id)
        return Authorizer(principal, PolicySet(service_control=levels))

    async def _user(
        self,
        principal: Principal,
        identity: UserRecord | RoleRecord,
        session_policies: Sequence[AttachedPolicy] = (),
    ) -> Authorizer:
        caller = principal.caller
        boundary = identity.boundary
        own = await self._attached(caller, identity)
        groups = identity.groups if isinstance(identity, UserRecord) else ()
        for group in groups:
            own += await self._attached(caller, await self._group(caller.account_id, group))
        policies = PolicySet(
            identity=own,
            boundary=None
            if boundary is None
            else await self._managed(caller, boundary, "permissions boundary"),
            session=session_policies or None,
            service_control=await self._service_control(caller.account_id),
        )
        return Authorizer(principal, policies)

    async def _attached(
        self, caller: Caller, holder: UserRecord | RoleRecord | GroupRecord
    ) -> list[AttachedPolicy]:
        named = [await self._managed(caller, name) for name in holder.policies]
        return [*named, *_all_inline(holder.inline)]

    async def _group(self, account_id: str, name: str) -> GroupRecord:
        found = await self._identities.find(account_id, GroupRecord, name)
        if found is None:
            # As of a policy: what it denies must not be lost.
            raise StoreError(f"the group {name} of account {account_id} is not there")
        return found

    async def _managed(
        self, caller: Caller, name: str, kind: PolicyKind = "identity-based policy"
    ) -> AttachedPolicy:
        text = await self.managed(caller.account_id, name)
        if text is None:
            # It may be one that denies: nobody goes on without it.
            raise StoreError(f"the policy {name} of account {caller.account_id} is not there")
        return AttachedPolicy(
            name=name,
            policy=parsed(text, kind),
            arn=name
            if is_of_aws(name)
            else f"arn:{caller.partition}:iam::{caller.account_id}:policy/{name}",
        )

    async def _service_control(self, account_id: str) -> Sequence[Sequence[AttachedPolicy]]:
        account = await self._identities.find(account_id, AccountRecord, ITSELF)
        levels = () if account is None else account.service_control
        return [
            [_service_control(account_id, name, text) for name, text in level.items()]
            for level in levels
        ]


def root(account_id: str, region: str) -> Caller:
    """As STS GetCallerIdentity says it of an account's root user."""
    partition = partition_of(region)
    return Caller(
        account_id=account_id,
        arn=f"arn:{partition}:iam::{account_id}:root",
        user_id=account_id,
        region=region,
        partition=partition,
    )


def user_caller(account_id: str, name: str, user: UserRecord, region: str) -> Caller:
    partition = partition_of(region)
    return Caller(
        account_id=account_id,
        arn=f"arn:{partition}:iam::{account_id}:user{user.path}{name}",
        user_id=user.user_id,
        region=region,
        partition=partition,
    )


def _checking(account_id: str, name: str, role: RoleRecord) -> Session:
    """Of nobody: it has no key, and is no older than the role."""
    return Session(
        kind="role",
        account_id=account_id,
        name=name,
        identity_id=role.role_id,
        access_key_id="",
        secret_access_key="",
        issued_at=role.created_at,
        expires_at=role.created_at,
        session_name="policy-check",
    )


def role_arn(partition: str, account_id: str, name: str, role: RoleRecord) -> str:
    return f"arn:{partition}:iam::{account_id}:role{role.path}{name}"


def name_of(arn: Arn) -> str:
    """Of a user or role: what is after its path."""
    return arn.resource.rpartition("/")[2]


@lru_cache(maxsize=_PARSED)
def parsed(text: str, kind: PolicyKind) -> Policy:
    """Of a document that was accepted when it was written."""
    return parse(text, kind, most_characters=_ANY_LENGTH)


def _inline(name: str, text: str, kind: PolicyKind = "identity-based policy") -> AttachedPolicy:
    return AttachedPolicy(name=name, policy=parsed(text, kind))


def _all_inline(documents: Mapping[str, str]) -> Iterable[AttachedPolicy]:
    return (_inline(name, text) for name, text in documents.items())


def _service_control(account_id: str, name: str, text: str) -> AttachedPolicy:
    return AttachedPolicy(
        name=name,
        policy=parsed(text, "service control policy"),
        arn=f"arn:aws:organizations::{account_id}:policy/o-outcrop/service_control_policy/{name}",
    )
