"""What a request says about its signature, in its Authorization header or in a presigned query.

The texts and the order of the checks are those of Amazon's own services: both at once, none, form,
date, signed host, algorithm, scope. Observed in public: mhart/dynalite `index.js` (order and older
wording), awslabs/time-addressable-media-store#8 and versity/versitygw (a refused header is shown as
its hash), karthink/gptel#1397 (Bedrock without a header), maximhq/bifrost#2533 and
earendil-works/pi#3487 (Bedrock's scope texts).
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote

from msgspec import Struct

from outcrop.wire.addresses import BEDROCK
from outcrop.wire.errors import (
    AccessDeniedException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)
from outcrop.wire.http import HttpRequest

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
MAX_SKEW = timedelta(minutes=5)
_MOST_TO_COME = -MAX_SKEW
MAX_EXPIRES_S = 604_800

# As every SDK writes it, up to the signature.
_USUAL = re.compile(rf"{ALGORITHM} Credential=([^,=\s]+), ?SignedHeaders=([^,=\s]+), ?")
_BASIC = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}")
_HEADER_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_QUERY_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
)


class Authorization(Struct, frozen=True, kw_only=True, gc=False):
    """As presented: well-formed, nothing verified."""

    algorithm: str
    credential: str
    signed_headers: str
    signature: str
    date: str
    """The moment of signing as sent: ISO 8601 basic, or the format of the Date header."""
    security_token: str
    """Empty when there is none."""
    content_sha256: str
    """What the signer says of the payload; empty when it says nothing."""
    presigned: bool
    expires_s: int | None = None


class Scope(Struct, frozen=True):
    """What a signature is good for: one key, one day, one Region, one service."""

    access_key_id: str
    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


def read(request: HttpRequest, service: str = BEDROCK) -> Authorization:
    header = request.headers.get("authorization", "")
    presigned = "X-Amz-Algorithm=" in request.query_string
    if header and presigned:
        raise InvalidSignatureException(
            "Found both 'X-Amz-Algorithm' as a query-string param"
            " and 'Authorization' as HTTP header."
        )
    if header:
        return _from_header(header, request.headers)
    if presigned:
        return _from_query(request)
    if service != BEDROCK:
        raise MissingAuthenticationTokenException("Request is missing Authentication Token")
    # karthink/gptel#1397, anthropics/claude-code#45000: Bedrock's answer to an unsigned request.
    raise AccessDeniedException("Authorization header is missing")


def signed_at(authorization: Authorization, now: datetime) -> str:
    """The moment of signing in ISO 8601's basic format, once it is neither too old nor to come."""
    moment, text = _moment(authorization.date)
    age = now - moment
    if age < _MOST_TO_COME:
        raise InvalidSignatureException(
            f"Signature not yet current: {text} is still later than {_basic(now + MAX_SKEW)}"
            f" ({_basic(now)} + 5 min.)"
        )
    expires_s = authorization.expires_s
    lifetime = MAX_SKEW if expires_s is None else timedelta(seconds=expires_s)
    if age > lifetime:
        raise InvalidSignatureException(
            f"Signature expired: {text} is now earlier than {_basic(now - lifetime)}"
            f" ({_basic(now)} - {lifetime.total_seconds() / 60:g} min.)"
        )
    return text


def scope(authorization: Authorization, timestamp: str, service: str) -> Scope:
    """The scope of a signature made at `timestamp` for `service`."""
    if not {"host", ":authority"} & set(authorization.signed_headers.lower().split(";")):
        raise InvalidSignatureException(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    if authorization.algorithm != ALGORITHM:
        raise IncompleteSignatureException(
            f"Unsupported AWS 'algorithm': '{authorization.algorithm}' (only {ALGORITHM} for now). "
        )
    elements = authorization.credential.rstrip("/").split("/")
    if len(elements) != 5:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements,"
            f" e.g. keyid/date/region/service/term, got '{authorization.credential}'"
        )
    access_key_id, date, region, signed_service, terminator = elements
    faults = (
        _region_fault(region),
        _service_fault(signed_service, service),
        _terminator_fault(terminator),
        _date_fault(date, timestamp),
    )
    if any(faults):
        raise InvalidSignatureException("".join(faults))
    return Scope(access_key_id, date, region, service)


def _region_fault(region: str) -> str:
    valid = _REGION.fullmatch(region)
    return "" if valid else "Credential should be scoped to a valid region. "


def _service_fault(signed: str, expected: str) -> str:
    valid = signed == expected
    return "" if valid else f"Credential should be scoped to correct service: '{expected}'. "


def _terminator_fault(terminator: str) -> str:
    valid = terminator == TERMINATOR
    return "" if valid else f"Credential should be scoped with a valid terminator: '{TERMINATOR}'. "


def _date_fault(date: str, timestamp: str) -> str:
    if date == timestamp[:8]:
        return ""
    return (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
        f" from HTTP: '{date}' != '{timestamp[:8]}', from '{timestamp}'."
    )


def decoded(component: str) -> str:
    """Of a query; `+` is a space, as clients that sign it as `%20` write it."""
    return unquote(component.replace("+", " "), encoding="latin-1")


def _from_header(header: str, headers: Mapping[str, str]) -> Authorization:
    said, _, signature = header.partition("Signature=")
    usual, date = _usual(said), headers.get("x-amz-date")
    if usual is None or not date or not _is_one_word(signature):
        return _from_unusual_header(header, headers)
    credential, signed_headers = usual
    return Authorization(
        algorithm=ALGORITHM,
        credential=credential,
        signed_headers=signed_headers,
        signature=signature,
        date=date,
        security_token=headers.get("x-amz-security-token", ""),
        content_sha256=headers.get("x-amz-content-sha256", ""),
        presigned=False,
    )


def _is_one_word(text: str) -> bool:
    return text.split() == [text] and "," not in text and "=" not in text


@lru_cache(maxsize=256)
def _usual(said: str) -> tuple[str, str] | None:
    """Credential and signed headers. A client says the same all day, but for the signature."""
    match = _USUAL.fullmatch(said)
    return None if match is None else (match[1], match[2])


def _from_unusual_header(header: str, headers: Mapping[str, str]) -> Authorization:
    """Another order or spacing, or something wrong: which of the two, and what."""
    algorithm, *pairs = header.replace(",", " ").split() or [""]
    if "=" in algorithm:
        raise IncompleteSignatureException(
            "Authorization header must begin with the algorithm name,"
            " which cannot include an equal-sign"
        )
    parameters = _parameters(pairs, header)
    date = headers.get("x-amz-date") or headers.get("date", "")
    missing = "".join(
        f"Authorization header requires '{name}' parameter. "
        for name in _HEADER_PARAMETERS
        if not parameters.get(name)
    )
    if not date:
        missing += (
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
        )
    if missing:
        raise IncompleteSignatureException(
            f"{missing}(Hashed with SHA-256 and encoded with Base64) Authorization={_hash(header)}"
        )
    return Authorization(
        algorithm=algorithm,
        credential=parameters["Credential"],
        signed_headers=parameters["SignedHeaders"],
        signature=parameters["Signature"],
        date=date,
        security_token=headers.get("x-amz-security-token", ""),
        content_sha256=headers.get("x-amz-content-sha256", ""),
        presigned=False,
    )


def _parameters(pairs: list[str], header: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equal_sign, value = pair.partition("=")
        # A name that comes twice means two headers, or a forgery; neither can be told apart.
        if not equal_sign or name in parameters:
            raise IncompleteSignatureException(
                "Invalid key=value pair (missing equal-sign) in Authorization header"
                f" (hashed with SHA-256 and encoded with Base64): '{_hash(header)}'."
            )
        parameters[name] = value
    return parameters


def _hash(header: str) -> str:
    return b64encode(sha256(header.encode("latin-1", "replace")).digest()).decode()


def _from_query(request: HttpRequest) -> Authorization:
    parameters = _query_parameters(request.query_string)
    missing = "".join(
        f"AWS query-string parameters must include '{name}'. "
        for name in _QUERY_PARAMETERS
        if not parameters.get(name)
    )
    if missing:
        raise IncompleteSignatureException(f"{missing}Re-examine the query-string parameters.")
    headers = request.headers
    return Authorization(
        algorithm=parameters["X-Amz-Algorithm"],
        credential=parameters["X-Amz-Credential"],
        signed_headers=parameters["X-Amz-SignedHeaders"],
        signature=parameters["X-Amz-Signature"],
        date=parameters["X-Amz-Date"],
        security_token=parameters.get("X-Amz-Security-Token")
        or headers.get("x-amz-security-token", ""),
        content_sha256=parameters.get("X-Amz-Content-Sha256")
        or headers.get("x-amz-content-sha256", ""),
        presigned=True,
        expires_s=_expires_s(parameters.get("X-Amz-Expires")),
    )


def _query_parameters(query_string: str) -> dict[str, str]:
    """Decoded and in order, as they are signed: another spelling must not read otherwise."""
    pairs = [pair.partition("=") for pair in query_string.split("&")]
    return dict(sorted((decoded(name), decoded(value)) for name, _, value in pairs))


def _expires_s(text: str | None) -> int | None:
    """Texts: Amazon S3's, the one service that documents them."""
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,16}", text):
        raise IncompleteSignatureException("X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds < 1:
        raise IncompleteSignatureException("X-Amz-Expires must be positive")
    if seconds > MAX_EXPIRES_S:
        raise IncompleteSignatureException(
            "X-Amz-Expires must be less than a week (in seconds);"
            f" that is, the given X-Amz-Expires must be less than {MAX_EXPIRES_S} seconds"
        )
    return seconds


@lru_cache(maxsize=64)
def _moment(date: str) -> tuple[datetime, str]:
    """And its text in ISO 8601's basic format. All that is signed within a second shares it."""
    try:
        if _BASIC.fullmatch(date):
            return datetime.fromisoformat(date), date
        moment = parsedate_to_datetime(date)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment, _basic(moment)
    except (ValueError, OverflowError):
        raise IncompleteSignatureException(
            f"Date must be in ISO-8601 'basic format'. Got '{date}'."
            " See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None


def _basic(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")
