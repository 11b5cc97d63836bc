"""A stolen database gives no secret away; a changed one is noticed."""

from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.iam.sealing import Sealer, SealError
from outcrop.iam.sealing_keys import FILE_NAME, VARIABLE, ensure_sealer

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@settings(max_examples=50)
@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens(secret: bytes, name: str) -> None:
    sealer = Sealer([NEW])

    assert sealer.open(sealer.seal(secret, name=name), name=name) == secret


def test_the_same_secret_is_never_sealed_alike_and_nowhere_visible() -> None:
    sealer = Sealer([NEW])
    sealed = [sealer.seal(SECRET, name="AKIA1") for _ in range(2)]

    assert sealed[0] != sealed[1]
    assert all(SECRET[i : i + 4] not in sealed[0] for i in range(len(SECRET) - 3))
    assert NEW[:8] not in sealed[0]


def test_every_changed_byte_and_every_cut_is_noticed() -> None:
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal(SECRET, name="AKIA1")

    for at in range(len(sealed)):
        for damaged in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]):
            with pytest.raises(SealError):
                sealer.open(damaged, name="AKIA1")


def test_a_secret_of_one_key_is_none_of_another() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SECRET, name="AKIA1")

    with pytest.raises(SealError, match="belongs to another name"):
        sealer.open(sealed, name="AKIA2")
    with pytest.raises(SealError, match="was not given"):
        Sealer([OTHER]).open(sealed, name="AKIA1")


def test_a_key_is_replaced_without_touching_the_secrets() -> None:
    sealed = Sealer([OLD]).seal(SECRET, name="AKIA1")
    both = Sealer([NEW, OLD])

    renewed = both.resealed(sealed)

    assert both.open(sealed, name="AKIA1") == SECRET
    assert [both.is_current(one) for one in (sealed, renewed)] == [False, True]
    assert Sealer([NEW]).open(renewed, name="AKIA1") == SECRET
    with pytest.raises(SealError):
        Sealer([OLD]).open(renewed, name="AKIA1")


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    sealed = ensure_sealer(state, {}).seal(SECRET, name="AKIA1")

    assert ensure_sealer(state, {}).open(sealed, name="AKIA1") == SECRET
    assert (state / FILE_NAME).stat().st_mode & 0o077 == 0
    assert [path.name for path in state.iterdir()] == [FILE_NAME]


def test_the_environment_may_have_the_keys_and_then_nothing_is_written(tmp_path: Path) -> None:
    text = f"{b64encode(NEW).decode()}\n{b64encode(OLD).decode()}"
    sealed = Sealer([OLD]).seal(SECRET, name="AKIA1")

    sealer = ensure_sealer(tmp_path, {VARIABLE: text})

    assert sealer.open(sealed, name="AKIA1") == SECRET
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "not base64!", b64encode(b"short").decode(), "QQ== QUI="])
def test_a_bad_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)

    for environ in ({}, {VARIABLE: text}):
        with pytest.raises(SealError, match="one or more keys of 32 bytes") as refusal:
            ensure_sealer(tmp_path, environ)
        assert not text or text not in str(refusal.value)
        assert refusal.value.__cause__ is None


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff")

    with pytest.raises(SealError, match="cannot be read"):
        ensure_sealer(tmp_path, {})
