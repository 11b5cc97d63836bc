"""AWS Signature Version 4 from the caller's side: pure functions of a request and a key."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from hmac import digest
from urllib.parse import quote

from msgspec import Struct

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "bedrock"


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
    """What a POST of `body` to `path` (encoded, as it goes out) needs besides; in lower case."""
    headers = {"x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    timestamp = headers["x-amz-date"]
    scope = f"{timestamp[:8]}/{region}/{_SERVICE}/aws4_request"
    to_sign = {"host": host, **headers}
    hashed = sha256(_canonical(path, to_sign, body).encode()).hexdigest()
    key = _signing_key(credentials.secret_access_key, timestamp[:8], region)
    signature = digest(key, f"{_ALGORITHM}\n{timestamp}\n{scope}\n{hashed}".encode(), "sha256")
    authorization = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope},"
        f" SignedHeaders={';'.join(sorted(to_sign))}, Signature={signature.hex()}"
    )
    return {**headers, "authorization": authorization}


def _canonical(path: str, headers: Mapping[str, str], body: bytes) -> str:
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    names = ";".join(sorted(headers))
    # All services but S3 encode the path once more than it is on the wire.
    return f"POST\n{quote(path, safe='/-_.~')}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"


def _signing_key(secret_access_key: str, date: str, region: str) -> bytes:
    key = digest(f"AWS4{secret_access_key}".encode(), date.encode(), "sha256")
    for part in (region, _SERVICE, "aws4_request"):
        key = digest(key, part.encode(), "sha256")
    return key
