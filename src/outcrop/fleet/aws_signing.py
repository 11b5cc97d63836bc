"""AWS Signature Version 4 from the caller's side: pure functions of a request and a key."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from hmac import digest
from urllib.parse import quote

from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"


class AwsCredentials(Struct, frozen=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


def signed_headers(
    path: str,
    body: bytes,
    *,
    host: str,
    region: str,
    credentials: AwsCredentials,
    now: datetime,
) -> dict[str, str]:
    """What a POST of `body` to Bedrock's `path` (encoded, as it goes out) needs besides.

    In lower case.
    """
    headers = _dated(credentials, now)
    # All services but S3 encode the path once more than it is on the wire.
    canonical = _canonical(
        ("POST", quote(path, safe="/-_.~"), ""),
        {"host": host, **headers},
        sha256(body).hexdigest(),
    )
    signing = _Signing(credentials, headers["x-amz-date"], region, "bedrock")
    return {**headers, "authorization": signing.authorization(canonical, ("host", *headers))}


class S3Request(Struct, frozen=True, kw_only=True):
    method: str
    host: str
    path: str
    """Encoded, as it goes out; so is the query, whose names are in order."""
    query: str
    headers: Mapping[str, str]
    body: bytes


def signed_s3_headers(
    request: S3Request, *, region: str, credentials: AwsCredentials, now: datetime
) -> dict[str, str]:
    """What a request to S3 needs besides, in lower case."""
    hashed = sha256(request.body).hexdigest()
    headers = {"x-amz-content-sha256": hashed, **_dated(credentials, now)}
    to_sign = {"host": request.host, **request.headers, **headers}
    canonical = _canonical((request.method, request.path, request.query), to_sign, hashed)
    signing = _Signing(credentials, headers["x-amz-date"], region, "s3")
    return {**headers, "authorization": signing.authorization(canonical, to_sign)}


def _dated(credentials: AwsCredentials, now: datetime) -> dict[str, str]:
    headers = {"x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    return headers


def _canonical(line: tuple[str, str, str], headers: Mapping[str, str], hashed: str) -> str:
    """`line`: the method, the path as it is signed, the query."""
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    names = ";".join(sorted(headers))
    return "\n".join((*line, lines, names, hashed))


class _Signing(Struct, frozen=True):
    credentials: AwsCredentials
    timestamp: str
    region: str
    service: str

    def authorization(self, canonical: str, signed: Iterable[str]) -> str:
        scope = f"{self.timestamp[:8]}/{self.region}/{self.service}/aws4_request"
        hashed = sha256(canonical.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{self.timestamp}\n{scope}\n{hashed}"
        signature = digest(self._key(), to_sign.encode(), "sha256")
        return (
            f"{_ALGORITHM} Credential={self.credentials.access_key_id}/{scope},"
            f" SignedHeaders={';'.join(sorted(signed))}, Signature={signature.hex()}"
        )

    def _key(self) -> bytes:
        secret = f"AWS4{self.credentials.secret_access_key}".encode()
        key = digest(secret, self.timestamp[:8].encode(), "sha256")
        for part in (self.region, self.service, "aws4_request"):
            key = digest(key, part.encode(), "sha256")
        return key
