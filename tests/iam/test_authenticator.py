import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from outcrop.iam.authenticator import MAX_KNOWN, Authenticator
from outcrop.iam.caller import Caller
from outcrop.wire.errors import (
    AwsError,
    InvalidSignatureException,
    UnrecognizedClientException,
)
from tests.iam.signing import (
    ACCESS_KEY_ID,
    ACCOUNT_ID,
    KeysInMemory,
    MovableClock,
    Signer,
    known_key,
    signing_time,
)

INVALID_TOKEN = "The security token included in the request is invalid."


def at_once(authentication: Coroutine[Any, Any, Caller]) -> Caller:
    return asyncio.run(authentication)


def test_a_signed_request_has_the_root_user_for_caller() -> None:
    request = Signer(region="eu-west-3").sign()
    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(request))

    caller = at_once(authenticator.authenticate(request, "bedrock"))

    assert caller == Caller(
        account_id=ACCOUNT_ID,
        arn=f"arn:aws:iam::{ACCOUNT_ID}:root",
        user_id=ACCOUNT_ID,
        region="eu-west-3",
        partition="aws",
    )


def test_the_region_of_the_scope_decides_the_partition() -> None:
    request = Signer(region="us-gov-west-1").presign()
    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(request))

    caller = at_once(authenticator.authenticate(request, "bedrock"))

    assert caller.partition == "aws-us-gov"
    assert caller.arn == f"arn:aws-us-gov:iam::{ACCOUNT_ID}:root"


def test_an_unknown_key_is_refused() -> None:
    request = Signer(access_key_id="AKIAUNKNOWN").sign()
    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert (refusal.value.status, refusal.value.message) == (403, INVALID_TOKEN)


@pytest.mark.parametrize("presign", [False, True])
def test_a_session_token_with_a_long_term_key_is_refused(*, presign: bool) -> None:
    signer = Signer(session_token="token")
    request = signer.presign() if presign else signer.sign()
    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert refusal.value.message == INVALID_TOKEN


def test_a_session_token_is_looked_at_only_once_the_signature_is_right() -> None:
    request = Signer(session_token="token", secret_access_key="another").sign()
    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(InvalidSignatureException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_the_store_is_asked_once_a_minute() -> None:
    request = Signer().sign()
    keys = KeysInMemory()
    clock = MovableClock(signing_time(request))
    authenticator = Authenticator(keys, clock)

    for _ in range(3):
        at_once(authenticator.authenticate(request, "bedrock"))
    asked_at_once = keys.asked
    clock.advance(seconds=60)
    at_once(authenticator.authenticate(request, "bedrock"))

    assert (asked_at_once, keys.asked) == (1, 2)


def test_a_key_that_another_server_took_away_works_for_a_minute_at_most() -> None:
    request = Signer().sign()
    keys = KeysInMemory()
    clock = MovableClock(signing_time(request))
    authenticator = Authenticator(keys, clock)
    at_once(authenticator.authenticate(request, "bedrock"))

    del keys.keys[ACCESS_KEY_ID]
    clock.advance(seconds=59)
    at_once(authenticator.authenticate(request, "bedrock"))
    clock.advance(seconds=1)

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_a_key_that_is_forgotten_is_looked_up_again() -> None:
    other = known_key(access_key_id="AKIAOTHEROTHEROTHER1")
    keys = KeysInMemory([known_key(), other])
    mine, others = Signer().sign(), Signer(access_key_id=other.access_key_id).sign()
    authenticator = Authenticator(keys, lambda: signing_time(mine))
    at_once(authenticator.authenticate(mine, "bedrock"))
    at_once(authenticator.authenticate(others, "bedrock"))

    del keys.keys[ACCESS_KEY_ID]
    authenticator.forget(ACCESS_KEY_ID)

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(mine, "bedrock"))
    assert at_once(authenticator.authenticate(others, "bedrock")).account_id == ACCOUNT_ID


def test_what_does_not_verify_is_not_kept() -> None:
    request = Signer(secret_access_key="another").sign()
    keys = KeysInMemory()
    authenticator = Authenticator(keys, lambda: signing_time(request))

    for _ in range(2):
        with pytest.raises(InvalidSignatureException):
            at_once(authenticator.authenticate(request, "bedrock"))

    assert keys.asked == 2


def test_many_regions_push_out_the_oldest_and_nothing_grows() -> None:
    keys = KeysInMemory()
    requests = [
        Signer(region=f"us-{name}-{number}").sign()
        for name in _names(MAX_KNOWN // 64 + 1)
        for number in range(64)
    ]
    authenticator = Authenticator(keys, lambda: signing_time(requests[0]))

    async def main() -> None:
        for request in requests:
            await authenticator.authenticate(request, "bedrock")
        asked = keys.asked
        await authenticator.authenticate(requests[-1], "bedrock")
        assert keys.asked == asked
        await authenticator.authenticate(requests[0], "bedrock")
        assert keys.asked == asked + 1

    asyncio.run(main())

    assert len(requests) > MAX_KNOWN


def _names(count: int) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"{one}{two}" for one in letters for two in letters][:count]


@pytest.mark.parametrize("text", ["\u00ff\u00fe", "\x00", "%", "é" * 500, "ሴ"])
@pytest.mark.parametrize("part", ["raw_path", "query_string", "authorization", "x-amz-date"])
def test_garbage_is_refused_and_never_an_accident(part: str, text: str) -> None:
    good = Signer().presign() if part == "query_string" else Signer().sign()
    if part in good.headers:
        changed = {**good.headers, part: good.headers[part] + text}
        request = msgspec.structs.replace(good, headers=changed)
    else:
        old: str = getattr(good, part)
        request = msgspec.structs.replace(good, **{part: f"{old}{text}"})

    authenticator = Authenticator(KeysInMemory(), lambda: signing_time(good))
    with pytest.raises(AwsError) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert refusal.value.status in {400, 403}
