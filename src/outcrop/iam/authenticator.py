"""From a request to the principal who signed it."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from outcrop.iam import api_keys, authorization, sigv4
from outcrop.iam.access import BearerTokenType
from outcrop.iam.caller import Caller
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.temporary_credentials import Session, TemporaryCredentials
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.addresses import BEDROCK
from outcrop.wire.errors import AwsError, ExpiredCredentials, UnrecognizedClientException
from outcrop.wire.http import HttpRequest
from outcrop.wire.timestamps import Clock

MAX_KNOWN = 8_192
FRESH_FOR = timedelta(seconds=0.5)
"""How long another process's change of anything here may go unnoticed."""

_FOREVER = datetime.max.replace(tzinfo=UTC)

_LONG_TERM: BearerTokenType = "LONG_TERM"
_SHORT_TERM: BearerTokenType = "SHORT_TERM"

K = TypeVar("K")
V = TypeVar("V")

_Form = tuple[str, str, str, str]
"""Credential, algorithm, signed headers, session token: all that decides who it is."""


class Directory(Protocol):
    async def version(self) -> int: ...
    async def key(self, access_key_id: str) -> AccessKeyRecord | None: ...
    async def holder(self, key: AccessKeyRecord, region: str) -> Authorizer | None: ...
    async def session(self, session: Session, region: str) -> Authorizer | None: ...


class Identified(Struct, frozen=True, kw_only=True):
    """Who sent a request, and what says what they may do."""

    authorizer: Authorizer
    access_key_id: str | None = None
    """Of a signature; a bearer key has no part that may be told."""
    bearer_token_type: BearerTokenType | None = None
    shared_arn: str | None = None
    """Of another account's resource, as of `Caller`."""

    @property
    def caller(self) -> Caller:
        caller = self.authorizer.principal.caller
        return replace(caller, shared_arn=self.shared_arn) if self.shared_arn else caller


class Authenticator:
    """Verifies every request, and asks the store for a principal only when something changed.

    A credential that has once verified stays known: scope, signing key, principal and policies,
    until the version of the directory is another one. That is looked at twice a second.
    """

    def __init__(
        self, directory: Directory, clock: Clock, *, temporary: TemporaryCredentials
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._temporary = temporary
        self._known: dict[_Form, _Known] = {}
        self._bearers: dict[str, _KnownBearer] = {}
        self.version = -1
        """That of the directory when it was looked at last."""
        self._fresh_until = datetime.min.replace(tzinfo=UTC)
        self._refreshing = asyncio.Lock()
        self._used: dict[str, datetime] = {}

    async def authenticate(self, request: HttpRequest, service: str) -> Identified:
        """`service`: what the credential must be scoped to."""
        bearer_key = api_keys.bearer_key(request.headers)
        if bearer_key is not None:
            return await self._bearer(bearer_key, request, service)
        now = self._clock()
        presented = authorization.read(request, service)
        timestamp = authorization.signed_at(presented, now)
        if now >= self._fresh_until:
            await self._refresh(now)
        form = (
            presented.credential,
            presented.algorithm,
            presented.signed_headers,
            presented.security_token,
        )
        known, version = self._known.get(form), self.version
        is_new = not (known and known.holds(now, timestamp, service))
        if known is None or is_new:
            scope = authorization.scope(presented, timestamp, service)
            known = await self._look_up(scope, presented.security_token, now)
        sigv4.verify(request, presented, timestamp=timestamp, key=known.signing_key)
        if presented.security_token and not known.is_temporary:
            raise _unrecognized()
        if is_new and version == self.version:
            _bounded(self._known, form, known)
        if not known.is_temporary:
            self._used[known.scope.access_key_id] = now
        return known.identified

    async def _bearer(self, key: str, request: HttpRequest, service: str) -> Identified:
        """Whatever is wrong with a key, Amazon says the same of it."""
        if service != BEDROCK:
            raise api_keys.refusal(key)
        now = self._clock()
        if now >= self._fresh_until:
            await self._refresh(now)
        known, version = self._bearers.get(key), self.version
        if known is None or now >= known.until:
            known = await self._read_bearer(key, now)
        if known is None:
            raise api_keys.refusal(key)
        caller = known.identified.caller
        if api_keys.is_for_another_region(request.headers, caller.region):
            raise api_keys.refusal(key)
        if version == self.version:
            _bounded(self._bearers, key, known)
        if not caller.is_temporary:
            self._used[known.key_id] = now
        return known.identified

    async def _read_bearer(self, text: str, now: datetime) -> "_KnownBearer | None":
        if len(text) > api_keys.LONGEST:
            return None
        named = api_keys.read_long_term(text)
        if named is not None:
            return await self._long_term(*named, now)
        presigned = api_keys.read_short_term(text)
        if presigned is None:
            return None
        try:
            return await self._short_term(presigned, now)
        except AwsError:
            return None

    async def _long_term(self, key_id: str, secret: str, now: datetime) -> "_KnownBearer | None":
        key = await self._directory.key(key_id)
        if key is None or key.region is None or key.status != "Active":
            return None
        until = key.expires_at or _FOREVER
        if now >= until or not compare_digest(key.secret_access_key.encode(), secret.encode()):
            return None
        holder = await self._directory.holder(key, key.region)
        if holder is None:
            return None
        identified = Identified(authorizer=holder, bearer_token_type=_LONG_TERM)
        return _KnownBearer(identified=identified, key_id=key_id, until=until)

    async def _short_term(self, presigned: HttpRequest, now: datetime) -> "_KnownBearer | None":
        """A presigned request that was never sent: whoever has it may act for its signer."""
        presented = authorization.read(presigned)
        if presented.expires_s is None or presented.expires_s > api_keys.MOST_S:
            return None
        timestamp = authorization.signed_at(presented, now)
        scope = authorization.scope(presented, timestamp, BEDROCK)
        known = await self._look_up(scope, presented.security_token, now)
        sigv4.verify(presigned, presented, timestamp=timestamp, key=known.signing_key)
        if presented.security_token and not known.is_temporary:
            return None
        signed_at = datetime.fromisoformat(timestamp)
        return _KnownBearer(
            identified=replace(known.identified, access_key_id=None, bearer_token_type=_SHORT_TERM),
            key_id=scope.access_key_id,
            until=min(known.until, signed_at + timedelta(seconds=presented.expires_s)),
        )

    def forget(self) -> None:
        """To be called after a change that this process made: the next request sees it."""
        self._fresh_until = datetime.min.replace(tzinfo=UTC)

    def take_used(self) -> Mapping[str, datetime]:
        """When long-term keys were last used since this was asked before, by id."""
        used, self._used = self._used, {}
        return used

    async def _refresh(self, now: datetime) -> None:
        async with self._refreshing:
            if now < self._fresh_until:
                return
            version = await self._directory.version()
            if version != self.version:
                self._known.clear()
                self._bearers.clear()
                self.version = version
            self._fresh_until = now + FRESH_FOR

    async def _look_up(self, scope: authorization.Scope, token: str, now: datetime) -> "_Known":
        session = self._temporary.session(token) if token else None
        if session is not None:
            return await self._temporary_key(session, scope, now)
        key = await self._directory.key(scope.access_key_id)
        if key is None or key.status != "Active" or key.region is not None:
            raise _unrecognized()
        return _Known(
            scope=scope,
            identified=_identified(await self._directory.holder(key, scope.region), scope),
            signing_key=sigv4.SigningKey(key.secret_access_key, scope),
            until=_FOREVER,
        )

    async def _temporary_key(
        self, session: Session, scope: authorization.Scope, now: datetime
    ) -> "_Known":
        if session.access_key_id != scope.access_key_id:
            raise _unrecognized()
        if now >= session.expires_at:
            raise ExpiredCredentials("The security token included in the request is expired")
        return _Known(
            scope=scope,
            identified=_identified(await self._directory.session(session, scope.region), scope),
            signing_key=sigv4.SigningKey(session.secret_access_key, scope),
            until=session.expires_at,
            is_temporary=True,
        )


class _Known(Struct, frozen=True, kw_only=True):
    scope: authorization.Scope
    identified: Identified
    signing_key: sigv4.SigningKey
    until: datetime
    is_temporary: bool = False

    def holds(self, now: datetime, timestamp: str, service: str) -> bool:
        scope = self.scope
        return now < self.until and scope.date == timestamp[:8] and scope.service == service


class _KnownBearer(Struct, frozen=True, kw_only=True):
    identified: Identified
    key_id: str
    until: datetime


def _bounded(known: dict[K, V], key: K, value: V) -> None:
    """Only what has verified comes here: strangers cannot push anything out."""
    if key not in known and len(known) >= MAX_KNOWN:
        del known[next(iter(known))]
    known[key] = value


def _identified(authorizer: Authorizer | None, scope: authorization.Scope) -> Identified:
    if authorizer is None:
        raise _unrecognized()
    return Identified(authorizer=authorizer, access_key_id=scope.access_key_id)


def _unrecognized() -> UnrecognizedClientException:
    return UnrecognizedClientException("The security token included in the request is invalid.")
