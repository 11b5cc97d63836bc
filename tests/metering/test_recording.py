"""How an invocation went is told once, and as it went in the end."""

import asyncio
import resource
from pathlib import Path

import pytest

from outcrop.metering.entries import Entries
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.journal import Journal
from outcrop.metering.ledger import Ledger
from outcrop.metering.prices import PriceList
from outcrop.metering.recording import CANCELLED, Ending, Recording
from outcrop.wire.errors import ServiceUnavailableException, ThrottlingException
from tests.clocks import FakeClock
from tests.runtime.requests import invocation


class Told:
    def __init__(self) -> None:
        self.began_: list[ModelInvocation] = []
        self.endings: list[tuple[int, str | None]] = []

    def began(self, invocation: ModelInvocation) -> None:
        self.began_.append(invocation)

    def ended(self, invocation: ModelInvocation, ending: Ending) -> None:
        self.endings.append((ending.status, ending.error))


def test_the_end_is_told_once_however_often_it_is_said() -> None:
    told, made = Told(), invocation()
    recording = Recording(None, None, [told], clock=FakeClock())

    recording.began(made, b"")
    asyncio.run(recording.ended(made))
    asyncio.run(recording.ended(made, ThrottlingException("later")))
    recording.cut_off(made)

    assert told.began_ == [made]
    assert told.endings == [(200, None)]


def test_an_error_has_amazons_name_and_a_client_that_left_has_none() -> None:
    told = Told()
    recording = Recording(None, None, [told], clock=FakeClock())

    asyncio.run(recording.ended(invocation(), ThrottlingException("slow down")))
    recording.cut_off(invocation())

    assert told.endings == [(429, "ThrottlingException"), (499, CANCELLED)]


def test_an_answer_that_could_not_be_recorded_is_told_as_the_error_that_it_became(
    tmp_path: Path,
) -> None:
    told, made = Told(), invocation()

    async def answer() -> None:
        entries = Entries(PriceList(), clock=FakeClock())
        journal = Journal(tmp_path, entries.packed)
        ledger = Ledger(journal, entries, refuses=True)
        recording = Recording(ledger, None, [told], clock=FakeClock())
        recording.admit()
        writable = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, writable[1]))
        try:
            with pytest.raises(ServiceUnavailableException) as refused:
                await recording.ended(made)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, writable)
        await recording.ended(made, refused.value)
        await journal.aclose()

    asyncio.run(answer())

    assert told.endings == [(503, "ServiceUnavailableException")]
