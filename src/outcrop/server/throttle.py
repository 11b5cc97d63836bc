"""Failed authentication, counted for each source address: who fails too often is told to wait."""

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from outcrop.server.config import LimitsConfig
from outcrop.wire.errors import AwsError, ThrottlingException
from outcrop.wire.http import HttpRequest
from outcrop.wire.timestamps import Clock, to_micros

# Sources remembered at once. Beyond them the one that has failed longest ago is forgotten.
MAX_SOURCES = 10_000

# Credentials of one source that have been right while others there were wrong.
MAX_PROVEN = 64

T = TypeVar("T")
R = TypeVar("R")

_CREDENTIAL = re.compile(r"Credential=([^,\s&]+)")


class AuthenticationThrottle(Generic[T]):
    """In front of an authenticator. Costs a look-up of the address while nothing has failed there.

    Each source has a bucket of failures that fills up again. When it is empty, a request is refused
    before its key is looked up, unless its credential has been right at that source since the
    failures began: whoever shares an address with a stranger keeps being served.
    """

    def __init__(
        self,
        authenticate: Callable[[HttpRequest, str], Awaitable[T]],
        *,
        limits: LimitsConfig,
        clock: Clock,
    ) -> None:
        self._authenticate = authenticate
        self._burst = limits.failed_authentications
        self._per_s = limits.failed_authentications_per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    async def authenticate(self, request: HttpRequest, service: str) -> T:
        """Raises what the authenticator raises, or ThrottlingException."""
        if self._buckets:
            return await self.attempt(
                request.source_address,
                lambda: _credential(request),
                lambda: self._authenticate(request, service),
            )
        try:
            return await self._authenticate(request, service)
        except AwsError as error:
            self._note(request.source_address, error)
            raise

    async def attempt(
        self, address: str, credential: Callable[[], bytes], call: Callable[[], Awaitable[R]]
    ) -> R:
        """The same of whatever else finds out who somebody is; `credential` is what they showed."""
        bucket = self._bucket_of(address) if self._buckets else None
        if bucket is not None:
            self._admit(bucket, credential)
        try:
            result = await call()
        except AwsError as error:
            self._note(address, error)
            raise
        if bucket is not None:
            bucket.prove(credential())
        return result

    def _bucket_of(self, address: str) -> "_Bucket | None":
        source = _source(address)
        bucket = self._buckets.get(source)
        if bucket is not None and bucket.is_full(self._now_s()):
            del self._buckets[source]
            return None
        return bucket

    def _admit(self, bucket: "_Bucket", credential: Callable[[], bytes]) -> None:
        wait_s = bucket.wait_s(self._now_s())
        if wait_s and credential() not in bucket.proven:
            raise ThrottlingException("Rate exceeded", retry_after_s=wait_s)

    def _note(self, address: str, error: AwsError) -> None:
        if not self._burst or error.status >= 500:
            return
        source, now_s = _source(address), self._now_s()
        if source not in self._buckets:
            self._buckets[source] = _Bucket(self._burst, self._per_s, now_s)
        self._buckets[source].take(now_s)
        self._buckets.move_to_end(source)
        if len(self._buckets) > MAX_SOURCES:
            self._buckets.popitem(last=False)

    def _now_s(self) -> float:
        return to_micros(self._clock()) / 1_000_000


class _Bucket:
    def __init__(self, most: int, per_s: float, now_s: float) -> None:
        self._most = most
        self._per_s = per_s
        self._left = float(most)
        self._as_of_s = now_s
        self.proven: OrderedDict[bytes, None] = OrderedDict()

    def is_full(self, now_s: float) -> bool:
        return self._refilled(now_s) >= self._most

    def wait_s(self, now_s: float) -> float:
        """Until one more failure is allowed; 0: now."""
        return max(0.0, (1 - self._refilled(now_s)) / self._per_s)

    def take(self, now_s: float) -> None:
        """Requests that fail together were all admitted: what they overdraw is owed."""
        self._left = max(-float(self._most), self._refilled(now_s) - 1)
        self._as_of_s = now_s

    def prove(self, credential: bytes) -> None:
        self.proven[credential] = None
        self.proven.move_to_end(credential)
        if len(self.proven) > MAX_PROVEN:
            self.proven.popitem(last=False)

    def _refilled(self, now_s: float) -> float:
        # A clock that is set back takes nothing away.
        passed_s = max(0.0, now_s - self._as_of_s)
        return min(float(self._most), self._left + passed_s * self._per_s)


def _source(address: str) -> str:
    """An IPv6 network of 64 bits is one customer's (RFC 6177): all of its addresses are one."""
    if ":" not in address:
        return address
    return str(IPv6Address(int(ip_address(address)) >> 64 << 64))


def _credential(request: HttpRequest) -> bytes:
    """Which key is presented, as a digest: a bearer key is a secret, and is not kept here.

    A signing key with its Region and service, on any day: the name of a key is no secret, and with
    another scope it would be looked up.
    """
    presented = request.headers.get("authorization", "")
    found = _CREDENTIAL.search(presented) or _CREDENTIAL.search(request.query_string)
    if found:
        key, _, scope = found[1].replace("%2F", "/").partition("/")
        presented = f"{key}/{scope.partition('/')[2]}"
    return sha256(presented.encode()).digest()
