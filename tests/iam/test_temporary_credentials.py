from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from outcrop.iam.api_keys import read_long_term, read_short_term
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.temporary_credentials import KEY_BYTES, Session, TemporaryCredentials
from outcrop.wire.errors import ExpiredCredentials, UnrecognizedClientException
from tests.iam.signing import KeysInMemory, MovableClock, Signer, authenticator_of, signing_time
from tests.iam.test_authenticator import at_once

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OURS = TemporaryCredentials(bytes(KEY_BYTES))
SESSION = Session(
    kind="user",
    account_id="111122223333",
    name="ada",
    identity_id="AIDAEXAMPLE",
    access_key_id="ASIAEXAMPLEEXAMPLE12",
    secret_access_key="s3cret",
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    tags={"team": "search"},
)


def test_a_token_says_what_was_put_in_and_hides_it() -> None:
    token = OURS.token(SESSION)

    assert OURS.session(token) == SESSION
    assert b"s3cret" not in b64decode(token)
    assert "s3cret" not in repr(SESSION)
    assert token != OURS.token(SESSION)


def test_a_token_of_another_installation_is_none() -> None:
    assert TemporaryCredentials(b"k" * KEY_BYTES).session(OURS.token(SESSION)) is None


@given(st.data())
def test_a_changed_token_is_none(data: st.DataObject) -> None:
    sealed = bytearray(b64decode(OURS.token(SESSION)))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(sealed) - 1))

    assert OURS.session(b64encode(sealed).decode()) is None
    assert OURS.session(b64encode(b64decode(OURS.token(SESSION))[:cut]).decode()) is None


@given(st.text() | st.binary().map(lambda data: b64encode(b"\x01" + data).decode()))
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert OURS.session(text) is None


@given(st.text() | st.text().map(lambda text: b64encode(text.encode()).decode()))
def test_any_text_is_a_bearer_key_or_none(text: str) -> None:
    for prefix in ("ABSK", "bedrock-api-key-", ""):
        read_long_term(prefix + text)
        request = read_short_term(prefix + text)
        assert request is None or "CallWithBearerToken" in request.query_string


def test_temporary_credentials_expire_though_they_are_known() -> None:
    signer = Signer(access_key_id=SESSION.access_key_id, secret_access_key="s3cret")
    first = signer.sign()
    began = signing_time(first)
    session = replace(SESSION, expires_at=began + timedelta(seconds=60))
    signed = replace(signer, session_token=OURS.token(session))
    request = signed.sign()
    clock = MovableClock(signing_time(request))
    authenticator = authenticator_of(SessionsInMemory(), clock)
    assert at_once(authenticator.authenticate(request, "bedrock")).account_id

    clock.now = began + timedelta(seconds=60)

    with pytest.raises(ExpiredCredentials) as refusal:
        at_once(authenticator.authenticate(request, "bedrock"))
    assert refusal.value.name == "ExpiredTokenException"
    assert refusal.value.message == "The security token included in the request is expired"


def test_a_token_goes_with_its_own_key_alone() -> None:
    other = replace(SESSION, access_key_id="ASIAOTHEROTHEROTHER1")
    signer = Signer(
        access_key_id=SESSION.access_key_id,
        secret_access_key="s3cret",
        session_token=OURS.token(replace(other, expires_at=datetime.max.replace(tzinfo=UTC))),
    )
    request = signer.sign()
    authenticator = authenticator_of(SessionsInMemory(), lambda: signing_time(request))

    with pytest.raises(UnrecognizedClientException):
        at_once(authenticator.authenticate(request, "bedrock"))


class SessionsInMemory(KeysInMemory):
    """Whoever has a session is the root user."""

    async def session(self, session: Session, region: str) -> Authorizer | None:
        (key,) = self.keys.values()
        return await self.holder(replace(key, account_id=session.account_id), region)
