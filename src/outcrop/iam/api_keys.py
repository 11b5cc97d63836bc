"""Bedrock API keys, the bearer kind. This installation issues none, so that each is refused."""

from collections.abc import Mapping

from outcrop.wire.errors import AccessDeniedException

# Of short-term and of long-term keys (Amazon Bedrock User Guide, "API keys").
_PREFIXES = ("bedrock-api-key-", "ABSK")


def bearer_key(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").lstrip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def refusal(key: str) -> AccessDeniedException:
    if key.startswith(_PREFIXES):
        # ai4s-research/open-science#53
        return AccessDeniedException(
            "Authentication failed: Please make sure your API Key is valid."
        )
    # farion1231/cc-switch#1679
    return AccessDeniedException("Invalid API Key format: Must start with pre-defined prefix")
