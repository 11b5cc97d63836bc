import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from outcrop.iam.authenticator import FRESH_FOR, MAX_KNOWN, Identified
from outcrop.iam.caller import Caller
from outcrop.store.records import AccessKeyRecord
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
    authenticator_of,
    known_key,
    signing_time,
)

INVALID_TOKEN = "The security token included in the request is invalid."


def at_once(authentication: Coroutine[Any, Any, Identified]) -> Caller:
    return asyncio.run(authentication).caller


def test_a_signed_request_has_the_root_user_for_caller() -> None:
    request = Signer(region="eu-west-3").sign()
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))

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
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))

    caller = at_once(authenticator.authenticate(request, "bedrock"))

    assert caller.partition == "aws-us-gov"
    assert caller.arn == f"arn:aws-us-gov:iam::{ACCOUNT_ID}:root"


def test_an_unknown_key_is_refused() -> None:
    request = Signer(access_key_id="AKIAUNKNOWN").sign()
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert (refusal.value.status, refusal.value.message) == (403, INVALID_TOKEN)


@pytest.mark.parametrize("presign", [False, True])
def test_a_session_token_with_a_long_term_key_is_refused(*, presign: bool) -> None:
    signer = Signer(session_token="token")
    request = signer.presign() if presign else signer.sign()
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert refusal.value.message == INVALID_TOKEN


def test_a_session_token_is_looked_at_only_once_the_signature_is_right() -> None:
    request = Signer(session_token="token", secret_access_key="another").sign()
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))

    with pytest.raises(InvalidSignatureException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_a_key_is_looked_up_once_until_something_changes() -> None:
    request = Signer().sign()
    keys = KeysInMemory()
    clock = MovableClock(signing_time(request))
    authenticator = authenticator_of(keys, clock)

    for _ in range(3):
        at_once(authenticator.authenticate(request, "bedrock"))
        clock.advance(seconds=60)
    asked_unchanged = keys.asked
    keys.changes += 1
    at_once(authenticator.authenticate(request, "bedrock"))

    assert (asked_unchanged, keys.asked) == (1, 2)


def test_a_key_that_another_process_took_away_works_for_half_a_second_at_most() -> None:
    request = Signer().sign()
    keys = KeysInMemory()
    clock = MovableClock(signing_time(request))
    authenticator = authenticator_of(keys, clock)
    at_once(authenticator.authenticate(request, "bedrock"))

    del keys.keys[ACCESS_KEY_ID]
    keys.changes += 1
    clock.advance(seconds=FRESH_FOR.total_seconds() - 0.01)
    at_once(authenticator.authenticate(request, "bedrock"))
    clock.advance(seconds=0.01)

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_a_change_made_here_is_seen_at_once() -> None:
    other = known_key(access_key_id="AKIAOTHEROTHEROTHER1")
    keys = KeysInMemory([known_key(), other])
    mine, others = Signer().sign(), Signer(access_key_id=other.access_key_id).sign()
    authenticator = authenticator_of(keys, lambda: signing_time(mine))
    at_once(authenticator.authenticate(mine, "bedrock"))
    at_once(authenticator.authenticate(others, "bedrock"))

    del keys.keys[ACCESS_KEY_ID]
    keys.changes += 1
    authenticator.forget()

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(mine, "bedrock"))
    assert at_once(authenticator.authenticate(others, "bedrock")).account_id == ACCOUNT_ID


def test_what_was_read_before_a_revocation_is_not_kept_after_it() -> None:
    """A slow look-up that a revocation and another request's look at the version overtake."""
    request = Signer().sign()
    clock = MovableClock(signing_time(request))

    class Slow(KeysInMemory):
        async def key(self, access_key_id: str) -> AccessKeyRecord | None:
            found = await super().key(access_key_id)
            if self.asked == 1:
                del self.keys[ACCESS_KEY_ID]
                self.changes += 1
                clock.advance(seconds=1)
                with pytest.raises(UnrecognizedClientException):
                    await authenticator.authenticate(request, "bedrock")
            return found

    authenticator = authenticator_of(Slow(), clock)
    at_once(authenticator.authenticate(request, "bedrock"))

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_an_inactive_key_is_refused() -> None:
    request = Signer().sign()
    inactive = msgspec.structs.replace(known_key(), status="Inactive")
    authenticator = authenticator_of(KeysInMemory([inactive]), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(request, "bedrock"))


def test_what_does_not_verify_is_not_kept() -> None:
    request = Signer(secret_access_key="another").sign()
    keys = KeysInMemory()
    authenticator = authenticator_of(keys, lambda: signing_time(request))

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
    authenticator = authenticator_of(keys, lambda: signing_time(requests[0]))

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

    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(good))
    with pytest.raises(AwsError) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))

    assert refusal.value.status in {400, 403}
