"""AWS Signature Version 4 from the verifier's side: pure functions of a request and a key.

The rules are those of every service but Amazon S3: the path is normalised and then URI-encoded once
more than it was on the wire (IAM User Guide, "Create a signed AWS API request").
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest, digest
from operator import itemgetter
from typing import Any, NamedTuple

from outcrop.iam.authorization import ALGORITHM, TERMINATOR, Authorization, Scope, decoded
from outcrop.wire.errors import InvalidSignatureException
from outcrop.wire.http import HttpRequest

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_EMPTY_SHA256 = sha256(b"").hexdigest()
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+")
_UNSAFE_IN_PATH = re.compile(r"[^A-Za-z0-9_.~/-]")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.~-]")
# What HMAC does to each byte of a key (RFC 2104).
_INNER = bytes([byte ^ 0x36 for byte in range(256)])
_OUTER = bytes([byte ^ 0x5C for byte in range(256)])
_WHITE_SPACE = re.compile(r"[ \t\r\n]+")


class SigningKey:
    """What an access key's secret becomes for one scope."""

    def __init__(self, secret_access_key: str, scope: Scope) -> None:
        self.scope = str(scope)
        """As it is signed."""
        key = digest(f"AWS4{secret_access_key}".encode(), scope.date.encode(), "sha256")
        for part in (scope.region, scope.service, TERMINATOR):
            key = digest(key, part.encode(), "sha256")
        # HMAC's two hashes, begun: OpenSSL's own HMAC costs twice what copies of them cost.
        block = key.ljust(sha256().block_size, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def signature(self, to_sign: str) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(_bytes(to_sign))
        outer.update(inner.digest())
        return outer.hexdigest()


def verify(
    request: HttpRequest,
    authorization: Authorization,
    *,
    timestamp: str,
    key: SigningKey,
) -> None:
    """Raises unless the holder of `key` signed this very request at `timestamp`."""
    canonical = canonical_request(request, authorization)
    to_sign = string_to_sign(canonical, timestamp, key.scope)
    if not compare_digest(key.signature(to_sign).encode("ascii"), _bytes(authorization.signature)):
        # BerriAI/litellm#14763 shows Bedrock's whole text.
        raise InvalidSignatureException(
            "The request signature we calculated does not match the signature you provided."
            " Check your AWS Secret Access Key and signing method."
            " Consult the service documentation for details."
            f"\n\nThe Canonical String for this request should have been\n'{canonical}'"
            f"\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
        )


def canonical_request(request: HttpRequest, authorization: Authorization) -> str:
    signed = _signed_headers(authorization.signed_headers)
    query = request.query_string
    if authorization.presigned:
        query = canonical_query(query, "X-Amz-Signature")
    elif query:
        query = canonical_query(query)
    return (
        f"{request.method}\n{canonical_path(request.raw_path)}\n{query}\n"
        f"{_header_lines(request.headers, signed)}\n{signed.joined}\n"
        f"{payload_hash(request, authorization)}"
    )


class _SignedHeaders(NamedTuple):
    names: tuple[str, ...]
    joined: str
    """As they are signed."""
    values_of: Callable[[Mapping[str, str]], Any]
    """Raises KeyError. One value comes without a tuple around it."""
    lines: str
    """To be filled with the values by `%`."""


@lru_cache(maxsize=64)
def _signed_headers(signed_headers: str) -> _SignedHeaders:
    """A client sends the same ones every time."""
    names = tuple(sorted(signed_headers.lower().split(";")))
    lines = "".join([f"{name.replace('%', '%%')}:%s\n" for name in names])
    return _SignedHeaders(names, ";".join(names), itemgetter(*names), lines)


def string_to_sign(canonical: str, timestamp: str, scope: Scope | str) -> str:
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(_bytes(canonical)).hexdigest()}"


@lru_cache(maxsize=256)
def canonical_path(raw_path: str) -> str:
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path
    return _UNSAFE_IN_PATH.sub(_percent_encoded, _normalised(raw_path))


@lru_cache(maxsize=256)
def canonical_query(query_string: str, without: str | None = None) -> str:
    pairs: list[tuple[str, str]] = []
    for pair in query_string.split("&"):
        name, _, value = pair.partition("=")
        encoded_name = _encoded(name)
        if pair and encoded_name != without:
            pairs.append((encoded_name, _encoded(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def payload_hash(request: HttpRequest, authorization: Authorization) -> str:
    claimed = authorization.content_sha256
    if claimed == UNSIGNED_PAYLOAD:
        return UNSIGNED_PAYLOAD
    if claimed.startswith("STREAMING-"):
        # S3's text without the alternatives that only S3 has; Bedrock's own is not known.
        raise InvalidSignatureException(
            f"x-amz-content-sha256 must be {UNSIGNED_PAYLOAD}, or a valid sha256 value."
            f" A payload signed in chunks ({_WHITE_SPACE.sub(' ', claimed)}) is not supported."
        )
    # Whatever else was claimed: a hash that is not the body's makes the signature not match.
    return sha256(request.body).hexdigest() if request.body else _EMPTY_SHA256


def _header_lines(headers: dict[str, str], signed: _SignedHeaders) -> str:
    try:
        values = signed.values_of(headers)
    except KeyError:
        return _careful_lines(headers, signed.names)
    lines: str = signed.lines % values
    # One look at all of them: hardly ever has one white space that is signed in another form.
    text = "".join(values)
    if "\t" in text or "\n" in text or (" " in text and _has_odd_space(lines)):
        return _careful_lines(headers, signed.names)
    return lines


def _has_odd_space(lines: str) -> bool:
    return "  " in lines or ": " in lines or " \n" in lines


def _careful_lines(headers: dict[str, str], names: tuple[str, ...]) -> str:
    return "".join([f"{name}:{_header_value(headers, name)}\n" for name in names])


def _header_value(headers: dict[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        # Over HTTP/2 the AWS SDK for JavaScript signs `:authority`; the edge calls it `host`.
        value = headers.get("host", "") if name == ":authority" else ""
    if "  " in value or "\t" in value or "\n" in value:
        value = _WHITE_SPACE.sub(" ", value)
    return value.strip(" ")


def _normalised(path: str) -> str:
    """Without empty, `.` and `..` segments, as every signer but S3's leaves them out."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    return f"/{'/'.join(kept)}/" if kept and path.endswith("/") else f"/{'/'.join(kept)}"


def _encoded(component: str) -> str:
    """Decoded and encoded again, so that every spelling of a value is the same value."""
    if not _UNSAFE.search(component):
        return component
    return _UNSAFE.sub(_percent_encoded, decoded(component))


def _percent_encoded(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _bytes(text: str) -> bytes:
    """As they were on the wire: the edge decodes as latin-1."""
    return text.encode("latin-1", "replace")
