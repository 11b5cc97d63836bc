import asyncio
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from outcrop.iam.api_keys import long_term_key
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.http import HttpRequest
from tests.iam.signing import KeysInMemory, MovableClock, authenticator_of


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Bearer sk-1234", "Invalid API Key format: Must start with pre-defined prefix"),
        ("Bearer", "Invalid API Key format: Must start with pre-defined prefix"),
        ("bearer  abc", "Invalid API Key format: Must start with pre-defined prefix"),
        (
            "Bearer ABSKQmVkcm9ja0FQSUtleQ==",
            "Authentication failed: Please make sure your API Key is valid.",
        ),
        (
            "Bearer bedrock-api-key-YmVkcm9jaw==",
            "Authentication failed: Please make sure your API Key is valid.",
        ),
    ],
)
def test_a_bearer_key_is_refused_as_bedrock_does(header: str, message: str) -> None:
    request = HttpRequest(method="GET", raw_path="/", headers={"authorization": header})
    authenticator = authenticator_of(KeysInMemory(), lambda: datetime(2026, 11, 22, tzinfo=UTC))

    with pytest.raises(AccessDeniedException) as refusal:
        asyncio.run(authenticator.authenticate(request, "bedrock"))

    assert refusal.value.message == message
    assert refusal.value.message_key == "Message"
    assert refusal.value.status == 403


NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = AccessKeyRecord(
    account_id="111122223333",
    access_key_id="BedrockAPIKey-1a2b3c4d-at-111122223333",
    secret_access_key="hush",
    created_at=NOW,
    user_name="ada",
    region="eu-west-1",
    expires_at=NOW + timedelta(days=1),
)


def bearing(key: str, host: str = "127.0.0.1:8787") -> HttpRequest:
    headers = {"authorization": f"Bearer {key}", "host": host}
    return HttpRequest(method="GET", raw_path="/", headers=headers)


def test_a_key_is_for_bedrock_alone_though_it_is_known() -> None:
    async def main() -> None:
        authenticator = authenticator_of(KeysInMemory([KEY]), lambda: NOW)
        request = bearing(long_term_key(KEY))

        identified = await authenticator.authenticate(request, "bedrock")

        assert identified.caller.region == "eu-west-1"
        assert identified.bearer_token_type == "LONG_TERM"
        with pytest.raises(AccessDeniedException):
            await authenticator.authenticate(request, "monitoring")

    asyncio.run(main())


def test_a_key_is_refused_at_the_endpoint_of_another_region() -> None:
    async def main() -> None:
        authenticator = authenticator_of(KeysInMemory([KEY]), lambda: NOW)
        key = long_term_key(KEY)

        await authenticator.authenticate(
            bearing(key, "bedrock-runtime.eu-west-1.amazonaws.com"), "bedrock"
        )
        with pytest.raises(AccessDeniedException) as refusal:
            await authenticator.authenticate(
                bearing(key, "bedrock-runtime.us-east-1.amazonaws.com"), "bedrock"
            )
        assert "make sure your API Key is valid" in refusal.value.message

    asyncio.run(main())


def test_a_key_expires_though_it_is_known() -> None:
    async def main() -> None:
        clock = MovableClock(NOW)
        authenticator = authenticator_of(KeysInMemory([KEY]), clock)
        request = bearing(long_term_key(KEY))
        await authenticator.authenticate(request, "bedrock")

        clock.advance(days=1)

        with pytest.raises(AccessDeniedException):
            await authenticator.authenticate(request, "bedrock")

    asyncio.run(main())


@pytest.mark.parametrize("secret", ["", "hus", "hush!", "HUSH", "\u00e9"])
def test_another_secret_is_refused(secret: str) -> None:
    wrong = "ABSK" + b64encode(f"{KEY.access_key_id}:{secret}".encode()).decode()
    authenticator = authenticator_of(KeysInMemory([KEY]), lambda: NOW)

    with pytest.raises(AccessDeniedException):
        asyncio.run(authenticator.authenticate(bearing(wrong), "bedrock"))
