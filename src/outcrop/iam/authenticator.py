"""From a request to the caller who signed it."""

from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from outcrop.iam import api_keys, authorization, sigv4
from outcrop.iam.caller import Caller
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.arn import partition_of
from outcrop.wire.errors import UnrecognizedClientException
from outcrop.wire.http import HttpRequest
from outcrop.wire.timestamps import Clock

MAX_KNOWN = 1_024
KNOWN_FOR = timedelta(seconds=60)
"""How long another server's change of a key may go unnoticed."""


_Form = tuple[str, str, str]
"""Credential, algorithm and signed headers: all that decides whether a scope is accepted."""


class AccessKeys(Protocol):
    async def find(self, access_key_id: str) -> AccessKeyRecord | None: ...


class Authenticator:
    """Verifies every request, and asks the store for a key only now and then.

    A credential that has once verified stays known for a minute: scope, signing key and caller. A
    change of a key made here takes effect at once through `forget`, one made elsewhere within that
    minute.
    """

    def __init__(self, keys: AccessKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[_Form, _Known] = {}

    async def authenticate(self, request: HttpRequest, service: str) -> Caller:
        """`service`: what the credential must be scoped to."""
        bearer_key = api_keys.bearer_key(request.headers)
        if bearer_key is not None:
            raise api_keys.refusal(bearer_key)
        now = self._clock()
        presented = authorization.read(request, service)
        timestamp = authorization.signed_at(presented, now)
        form = (presented.credential, presented.algorithm, presented.signed_headers)
        known = self._known.get(form)
        if known is None or not known.holds(now, timestamp, service):
            known = await self._look_up(authorization.scope(presented, timestamp, service), now)
        sigv4.verify(
            request, presented, timestamp=timestamp, scope=known.scope, key=known.signing_key
        )
        if presented.security_token:
            raise _unrecognized()
        self._keep(form, known)
        return known.caller

    def forget(self, access_key_id: str) -> None:
        """To be called when the key changes or goes."""
        prefix = f"{access_key_id}/"
        for form in [form for form in self._known if form[0].startswith(prefix)]:
            del self._known[form]

    async def _look_up(self, scope: authorization.Scope, now: datetime) -> "_Known":
        key = await self._keys.find(scope.access_key_id)
        if key is None:
            raise _unrecognized()
        return _Known(
            scope=scope,
            caller=_root(key.account_id, scope.region),
            signing_key=sigv4.SigningKey(key.secret_access_key, scope),
            until=now + KNOWN_FOR,
        )

    def _keep(self, form: "_Form", known: "_Known") -> None:
        """Only what has verified comes here: strangers cannot push anything out."""
        if form not in self._known and len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[form] = known


class _Known(Struct, frozen=True, kw_only=True):
    scope: authorization.Scope
    caller: Caller
    signing_key: sigv4.SigningKey
    until: datetime

    def holds(self, now: datetime, timestamp: str, service: str) -> bool:
        scope = self.scope
        return now < self.until and scope.date == timestamp[:8] and scope.service == service


def _root(account_id: str, region: str) -> Caller:
    """As STS GetCallerIdentity says it of an account's root user."""
    partition = partition_of(region)
    return Caller(
        account_id=account_id,
        arn=f"arn:{partition}:iam::{account_id}:root",
        user_id=account_id,
        region=region,
        partition=partition,
    )


def _unrecognized() -> UnrecognizedClientException:
    return UnrecognizedClientException("The security token included in the request is invalid.")
