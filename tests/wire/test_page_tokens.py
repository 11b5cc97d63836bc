import base64

import pytest
from msgspec.structs import replace

from outcrop.iam.caller import Caller
from outcrop.wire.errors import ValidationException
from outcrop.wire.page_tokens import PageTokens
from tests.clocks import FakeClock

KEY = bytes(32)
CALLER = Caller(
    account_id="111122223333",
    arn="arn:aws:iam::111122223333:root",
    user_id="111122223333",
    region="us-east-1",
    partition="aws",
)
POSITION = (1_700_000_000_000_000, "arn:aws:bedrock:us-east-1:111122223333:x/y")


def tokens(
    clock: FakeClock, *, operation: str = "ListThings", key: bytes = KEY
) -> PageTokens[tuple[int, str]]:
    return PageTokens(operation, tuple[int, str], key=key, clock=clock)


def test_a_token_opens_where_it_was_sealed() -> None:
    things = tokens(FakeClock())

    token = things.seal(POSITION, CALLER, "filters")

    assert things.open(token, CALLER, "filters") == POSITION
    assert len(token) <= 2048
    assert token.isascii()
    assert not any(letter.isspace() for letter in token)


def test_no_token_looks_like_an_option_of_a_command() -> None:
    keys = (number.to_bytes(32, "big") for number in range(500))

    begin = {tokens(FakeClock(), key=key).seal(POSITION, CALLER, "")[0] for key in keys}

    assert "-" not in begin


@pytest.mark.parametrize(
    ("operation", "key", "caller", "filters"),
    [
        ("ListOthers", KEY, CALLER, "filters"),
        ("ListThings", bytes(31) + b"\1", CALLER, "filters"),
        ("ListThings", KEY, replace(CALLER, account_id="444455556666"), "filters"),
        ("ListThings", KEY, replace(CALLER, region="us-west-2"), "filters"),
        ("ListThings", KEY, CALLER, "other filters"),
    ],
)
def test_a_foreign_token_is_refused(
    operation: str, key: bytes, caller: Caller, filters: str
) -> None:
    clock = FakeClock()
    token = tokens(clock).seal(POSITION, CALLER, "filters")

    with pytest.raises(ValidationException):
        tokens(clock, operation=operation, key=key).open(token, caller, filters)


def test_every_cut_of_a_token_is_refused() -> None:
    things = tokens(FakeClock())
    token = things.seal(POSITION, CALLER, "")

    for end in range(len(token)):
        with pytest.raises(ValidationException):
            things.open(token[:end], CALLER, "")


def test_every_changed_character_is_refused() -> None:
    things = tokens(FakeClock())
    token = things.seal(POSITION, CALLER, "")

    for at in range(len(token)):
        other = "A" if token[at] != "A" else "B"
        with pytest.raises(ValidationException):
            things.open(token[:at] + other + token[at + 1 :], CALLER, "")


@pytest.mark.parametrize("token", ["é", "=", "====", "a b", "nonsense", "\0", "_" * 2048])
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(ValidationException):
        tokens(FakeClock()).open(token, CALLER, "")


def test_another_spelling_of_the_same_bytes_is_refused() -> None:
    things = tokens(FakeClock())
    token = things.seal(POSITION, CALLER, "")
    padded = base64.urlsafe_b64encode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))

    with pytest.raises(ValidationException):
        things.open(padded.decode() + "=", CALLER, "")


def test_a_token_lives_for_a_day() -> None:
    clock = FakeClock()
    things = tokens(clock)
    token = things.seal(POSITION, CALLER, "")

    clock.advance(hours=24)
    assert things.open(token, CALLER, "") == POSITION

    clock.advance(seconds=1)
    with pytest.raises(ValidationException):
        things.open(token, CALLER, "")
