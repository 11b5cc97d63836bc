"""Identity tokens of OpenID Connect issuers: who they speak of, once they are verified."""

import asyncio
import ssl
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Protocol, cast
from urllib.error import HTTPError

import jwt
import msgspec
from jwt.types import Options
from msgspec import Struct

from outcrop.iam.policy.patterns import Context
from outcrop.store.identity_records import IdentityProviderRecord
from outcrop.wire.errors import (
    ExpiredTokenException,
    IDPCommunicationErrorException,
    InvalidIdentityTokenException,
)
from outcrop.wire.timestamps import Clock, iso8601

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""Signed with a private key: no issuer shares a secret with us."""
KEYS_KNOWN_FOR = timedelta(hours=1)
ASKED_AGAIN_AFTER = timedelta(seconds=10)
"""By an issuer that failed, or for a key that it did not have a moment ago."""
SKEW = timedelta(minutes=5)
PATIENCE_S = 5.0
"""For the whole of one document of an issuer's."""
MOST_BYTES = 1_048_576
MOST_KEYS = 100
_CHUNK_BYTES = 65_536

_SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_nbf": False,
    "verify_jti": False,
    "verify_sub": False,
}

Fetch = Callable[[str, str | None], Awaitable[bytes]]
"""What is at a URL; with the PEM of who signs its certificate. Raises OSError."""


class Identity(Struct, frozen=True, kw_only=True):
    issuer: str
    """Its URL without the scheme."""
    subject: str
    audience: str
    keys: Context
    """Its claims as condition keys: `oidc.example.com:sub`."""

    def provider_arn(self, partition: str, account_id: str) -> str:
        return f"arn:{partition}:iam::{account_id}:oidc-provider/{self.issuer}"


class Issuers(Protocol):
    async def issuer(self, account_id: str, name: str) -> IdentityProviderRecord | None: ...


class _Configuration(Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _Keys(Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Known:
    """What one issuer said last, and who is asking it now."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.asked_at = self.learnt_at = datetime.min.replace(tzinfo=UTC)
        self.keys: Mapping[str, jwt.PyJWK] = {}
        self.failure: str | None = None

    def is_due(self, kid: str, now: datetime) -> bool:
        """An issuer may have begun to sign with a new key."""
        if now - self.asked_at <= ASKED_AGAIN_AFTER:
            return False
        return kid not in self.keys or now - self.learnt_at > KEYS_KNOWN_FOR

    def learn(self, keys: Mapping[str, jwt.PyJWK], now: datetime) -> None:
        self.keys, self.failure = keys, None
        self.asked_at = self.learnt_at = now

    def fail(self, why: str, now: datetime) -> None:
        """What was learnt within the hour is still believed."""
        self.failure, self.asked_at = why, now
        if now - self.learnt_at > KEYS_KNOWN_FOR:
            self.keys = {}


class WebIdentities:
    def __init__(self, issuers: Issuers, clock: Clock, *, fetch: Fetch | None = None) -> None:
        self._issuers = issuers
        self._clock = clock
        self._fetch = fetch or fetched
        # By URL and authority: two accounts may trust one URL by different authorities.
        self._known: dict[tuple[str, str | None], _Known] = {}

    async def verified(self, account_id: str, token: str) -> Identity:
        """Raises what AssumeRoleWithWebIdentity answers a token with that is no good."""
        head, claims = _unverified(token)
        url = str(claims.get("iss", ""))
        name = url.partition("://")[2].rstrip("/")
        issuer = await self._issuers.issuer(account_id, name)
        if issuer is None or issuer.url.rstrip("/") != url.rstrip("/"):
            raise InvalidIdentityTokenException(
                f"No OpenIDConnect provider found in your account for {url}"
            )
        key = await self._key(issuer, str(head.get("kid", "")))
        claims = _verified(token, key, head)
        self._check_times(claims)
        return _identity(claims, name, issuer)

    async def _key(self, issuer: IdentityProviderRecord, kid: str) -> jwt.PyJWK:
        known = self._known.setdefault((issuer.url, issuer.certificate_authority), _Known())
        if known.is_due(kid, self._clock()):
            async with known.asking:
                if known.is_due(kid, self._clock()):
                    await self._ask(issuer, known)
        found = known.keys.get(kid)
        if found is None and not kid and len(known.keys) == 1:
            return next(iter(known.keys.values()))
        if found is None and known.failure:
            raise IDPCommunicationErrorException(
                f"Couldn't retrieve verification key from your identity provider: {known.failure}"
            )
        if found is None:
            raise InvalidIdentityTokenException(
                "Couldn't retrieve verification key from your identity provider, please reference"
                " AssumeRoleWithWebIdentity documentation for requirements"
            )
        return found

    async def _ask(self, issuer: IdentityProviderRecord, known: _Known) -> None:
        url, authority = issuer.url.rstrip("/"), issuer.certificate_authority
        try:
            text = await self._fetch(f"{url}/.well-known/openid-configuration", authority)
            text = await self._fetch(_keys_url(text, url), authority)
            rows = msgspec.json.decode(text, type=_Keys).keys
        except (OSError, ValueError) as error:
            known.fail(str(error) or type(error).__name__, self._clock())
        else:
            known.learn(dict(_usable(rows[:MOST_KEYS])), self._clock())

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock()
        expires_at, begins_at = _moment(claims.get("exp")), _moment(claims.get("nbf", 0))
        if expires_at is None or begins_at is None:
            raise InvalidIdentityTokenException("Missing a required claim: exp")
        if now >= expires_at:
            raise ExpiredTokenException(
                f"Token expired: current date/time {iso8601(now)} must be before the expiration"
                f" date/time {iso8601(expires_at)}"
            )
        if begins_at > now + SKEW:
            raise InvalidIdentityTokenException("The token is not valid yet.")


async def fetched(url: str, certificate_authority: str | None) -> bytes:
    """In a thread: it is asked for once an hour. Raises OSError, after PATIENCE_S at the latest."""
    given_up = threading.Event()
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.to_thread(_fetched, url, certificate_authority, given_up)
    except TimeoutError:
        raise OSError(f"{url} did not answer within {PATIENCE_S:g} s") from None
    finally:
        given_up.set()


def _fetched(url: str, certificate_authority: str | None, given_up: threading.Event) -> bytes:
    context = ssl.create_default_context(cadata=certificate_authority)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirects()
    )
    body = b""
    try:
        with opener.open(url, timeout=PATIENCE_S) as answer:
            while chunk := answer.read1(_CHUNK_BYTES):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise OSError(f"{url} answers more than {MOST_BYTES} bytes")
                if given_up.is_set():
                    raise OSError(f"{url} answers too slowly")
    except HTTPError as error:
        error.close()
        raise OSError(f"{url} answers {error.code}") from None
    except HTTPException as error:
        raise OSError(f"{url} answers no HTTP: {type(error).__name__}") from error
    return body


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Nobody but the issuer that the operator named is asked."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """None: the redirection is the answer, and an error."""


def _keys_url(configuration: bytes, issuer_url: str) -> str:
    url = msgspec.json.decode(configuration, type=_Configuration).jwks_uri
    if not url.startswith((issuer_url, "https://")):
        raise ValueError(f"its keys are said to be at {url}")
    return url


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Head and claims, for finding out whose key to verify them with."""
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise InvalidIdentityTokenException("The ID Token provided is not a valid JWT.") from None
    return whole["header"], whole["payload"]


def _verified(token: str, key: jwt.PyJWK, head: Mapping[str, Any]) -> Mapping[str, Any]:
    """Times and audience are looked at by whoever has the clock and the audiences."""
    algorithm = str(head.get("alg"))
    try:
        if algorithm not in ALGORITHMS:
            raise InvalidIdentityTokenException("The algorithm of the token is not supported.")
        claims: Mapping[str, Any] = jwt.decode(
            token, key.key, algorithms=[algorithm], options=_SIGNATURE_ONLY
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        raise InvalidIdentityTokenException("The signature of the token is not valid.") from None
    return claims


def _identity(claims: Mapping[str, Any], name: str, issuer: IdentityProviderRecord) -> Identity:
    said = claims.get("aud")
    audiences = cast("list[object]", said) if isinstance(said, list) else [said]
    audience = next((one for one in issuer.client_ids if one in audiences), None)
    subject = claims.get("sub")
    if audience is None:
        raise InvalidIdentityTokenException("Incorrect token audience")
    if not isinstance(subject, str) or not subject:
        raise InvalidIdentityTokenException("Missing a required claim: sub")
    keys = {f"{name}:{claim}".lower(): text for claim, text in _texts(claims)}
    keys[f"{name}:aud".lower()] = audience
    return Identity(issuer=name, subject=subject, audience=audience, keys=keys)


def _texts(claims: Mapping[str, Any]) -> list[tuple[str, str | tuple[str, ...]]]:
    """Claims that a condition can look at: texts, and lists of them."""
    found: list[tuple[str, str | tuple[str, ...]]] = []
    for name, value in claims.items():
        if isinstance(value, str):
            found.append((name, value))
        elif isinstance(value, list):
            items = cast("list[object]", value)
            texts = tuple(item for item in items if isinstance(item, str))
            if texts and len(texts) == len(items):
                found.append((name, texts))
    return found


def _usable(rows: list[dict[str, Any]]) -> list[tuple[str, jwt.PyJWK]]:
    found: list[tuple[str, jwt.PyJWK]] = []
    for row in rows:
        if row.get("kty") not in {"RSA", "EC"}:
            continue
        try:
            found.append((str(row.get("kid", "")), jwt.PyJWK(row)))
        except (jwt.PyJWTError, ValueError):
            continue
    return found


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
