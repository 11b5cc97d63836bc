"""Identity tokens of OpenID Connect issuers: who they speak of, once they are verified."""

import asyncio
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

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
"""For a key that an issuer did not have a moment ago."""
SKEW = timedelta(minutes=5)
PATIENCE_S = 5.0
MOST_BYTES = 1_048_576

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


class _Known(Struct, frozen=True):
    fetched_at: datetime
    keys: Mapping[str, jwt.PyJWK]


class WebIdentities:
    def __init__(self, issuers: Issuers, clock: Clock, *, fetch: Fetch | None = None) -> None:
        self._issuers = issuers
        self._clock = clock
        self._fetch = fetch or fetched
        self._known: dict[str, _Known] = {}
        self._fetching = asyncio.Lock()

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
        async with self._fetching:
            known, now = self._known.get(issuer.url), self._clock()
            if known is None or now - known.fetched_at > self._good_for(known, kid):
                known = _Known(now, await self._keys(issuer))
                self._known[issuer.url] = known
        found = known.keys.get(kid)
        if found is None and not kid and len(known.keys) == 1:
            return next(iter(known.keys.values()))
        if found is None:
            raise InvalidIdentityTokenException(
                "Couldn't retrieve verification key from your identity provider, please reference"
                " AssumeRoleWithWebIdentity documentation for requirements"
            )
        return found

    def _good_for(self, known: _Known, kid: str) -> timedelta:
        """An issuer may have begun to sign with a new key."""
        return KEYS_KNOWN_FOR if kid in known.keys else ASKED_AGAIN_AFTER

    async def _keys(self, issuer: IdentityProviderRecord) -> Mapping[str, jwt.PyJWK]:
        url = issuer.url.rstrip("/")
        authority = issuer.certificate_authority
        try:
            text = await self._fetch(f"{url}/.well-known/openid-configuration", authority)
            text = await self._fetch(_keys_url(text, url), authority)
            rows = msgspec.json.decode(text, type=_Keys).keys
        except (OSError, ValueError) as error:
            raise IDPCommunicationErrorException(
                f"Couldn't retrieve verification key from your identity provider: {error}"
            ) from error
        return dict(_usable(rows))

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
    """In a thread: it is asked for once an hour."""
    return await asyncio.to_thread(_fetched, url, certificate_authority)


def _fetched(url: str, certificate_authority: str | None) -> bytes:
    context = ssl.create_default_context(cadata=certificate_authority)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirects()
    )
    with opener.open(url, timeout=PATIENCE_S) as answer:
        body: bytes = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise OSError(f"{url} answers more than {MOST_BYTES} bytes")
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
    said = claims.get("aud", [])
    audiences = [said] if isinstance(said, str) else list(said)
    audience = next((one for one in audiences if one in issuer.client_ids), None)
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
