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

SERVICE = "bedrock"
"""Both endpoints sign with this name."""

MAX_KNOWN = 1_024
KNOWN_FOR = timedelta(seconds=60)
"""How long another server's change of a key may go unnoticed."""


class AccessKeys(Protocol):
    async def find(self, access_key_id: str) -> AccessKeyRecord | None: ...


class Authenticator:
    """Verifies every request, and asks the store for a key only now and then.

    A credential that has once verified stays known for a minute: key, signing key and caller. A
    change of a key made here takes effect at once through `forget`, one made elsewhere within that
    minute.
    """

    def __init__(self, keys: AccessKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def authenticate(self, request: HttpRequest) -> Caller:
        bearer_key = api_keys.bearer_key(request.headers)
        if bearer_key is not None:
            raise api_keys.refusal(bearer_key)
        now = self._clock()
        presented = authorization.read(request)
        timestamp = authorization.signed_at(presented, now)
        scope = authorization.scope(presented, timestamp, SERVICE)
        known = self._known.get(presented.credential)
        if known is None or now >= known.until:
            known = await self._look_up(scope, now)
        sigv4.verify(request, presented, timestamp=timestamp, scope=scope, key=known.signing_key)
        if presented.security_token:
            raise _unrecognized()
        self._keep(presented.credential, known)
        return known.caller

    def forget(self, access_key_id: str) -> None:
        """To be called when the key changes or goes."""
        prefix = f"{access_key_id}/"
        for credential in [known for known in self._known if known.startswith(prefix)]:
            del self._known[credential]

    async def _look_up(self, scope: authorization.Scope, now: datetime) -> "_Known":
        key = await self._keys.find(scope.access_key_id)
        if key is None:
            raise _unrecognized()
        return _Known(
            caller=_root(key.account_id, scope.region),
            signing_key=sigv4.signing_key(key.secret_access_key, scope),
            until=now + KNOWN_FOR,
        )

    def _keep(self, credential: str, known: "_Known") -> None:
        """Only what has verified comes here: strangers cannot push anything out."""
        if credential not in self._known and len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[credential] = known


class _Known(Struct, frozen=True, kw_only=True):
    caller: Caller
    signing_key: bytes
    until: datetime


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
