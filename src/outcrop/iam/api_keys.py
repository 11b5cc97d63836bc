"""Bedrock API keys, the bearer kind: what they look like, long-term and short-term."""

import re
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Mapping

from outcrop.store.records import AccessKeyRecord
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.http import HttpRequest

LONG_TERM, SHORT_TERM = "ABSK", "bedrock-api-key-"
LONGEST = 131_072
SERVICE_HOST = "bedrock.amazonaws.com"
"""What a short-term key is signed for (aws-bedrock-token-generator)."""
MOST_S = 43_200
"""How long a short-term key lasts at most."""

_HOST = re.compile(r"bedrock(?:-runtime)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?::\d+)?")
_ACTION = "Action=CallWithBearerToken"
_VERSION = "&Version=1"


def bearer_key(headers: Mapping[str, str]) -> str | None:
    header = headers.get("authorization", "").lstrip()
    if header[:6].lower() != "bearer":
        return None
    scheme, _, key = header.partition(" ")
    return key.strip() if len(scheme) == 6 else None


def long_term_key(key: AccessKeyRecord) -> str:
    """As `AWS_BEARER_TOKEN_BEDROCK` has it."""
    named = f"{key.access_key_id}:{key.secret_access_key}"
    return LONG_TERM + b64encode(named.encode()).decode()


def read_long_term(key: str) -> tuple[str, str] | None:
    """Id and secret; None of what is no such key."""
    name, colon, secret = _decoded(key.removeprefix(LONG_TERM)).partition(":")
    return (name, secret) if key.startswith(LONG_TERM) and colon else None


def read_short_term(key: str) -> HttpRequest | None:
    """The presigned request that it is; None of what is no such key."""
    if not key.startswith(SHORT_TERM):
        return None
    host, slash, rest = _decoded(key.removeprefix(SHORT_TERM)).partition("/")
    query = rest.removeprefix("?").removesuffix(_VERSION)
    signed = _ACTION in query.split("&")
    if host != SERVICE_HOST or not slash or not rest.startswith("?") or not signed:
        return None
    return HttpRequest(
        method="POST", raw_path="/", query_string=query, headers={"host": SERVICE_HOST}
    )


def is_for_another_region(headers: Mapping[str, str], region: str) -> bool:
    """Whether the request names an endpoint of a Region that is not the key's."""
    named = _HOST.fullmatch(headers.get("host", ""))
    return named is not None and named[1] != region


def refusal(key: str) -> AccessDeniedException:
    if key.startswith((LONG_TERM, SHORT_TERM)):
        # ai4s-research/open-science#53
        return AccessDeniedException(
            "Authentication failed: Please make sure your API Key is valid."
        )
    # farion1231/cc-switch#1679
    return AccessDeniedException("Invalid API Key format: Must start with pre-defined prefix")


def _decoded(text: str) -> str:
    """Empty when it is not base64 of text."""
    try:
        return b64decode(text, validate=True).decode("ascii")
    except (BinasciiError, ValueError):
        return ""
