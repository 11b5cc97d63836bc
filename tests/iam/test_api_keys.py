import asyncio
from datetime import UTC, datetime

import pytest

from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.http import HttpRequest
from tests.iam.signing import KeysInMemory, authenticator_of


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
