"""Facts of one worker; those of several are in test_valkey.py."""

from outcrop.counters.shared import Fact, SharedFacts
from tests.clocks import FakeClock


def test_a_fact_is_there_at_once_and_for_its_time(clock: FakeClock) -> None:
    facts = SharedFacts(clock)
    facts.put("a/1", "one", 10)
    facts.put("b/1", "two", 20)

    assert facts.get_all("a/") == {"a/1": "one"}
    clock.advance(seconds=10)
    assert facts.get_all("") == {"b/1": "two"}


def test_without_others_nothing_waits_to_be_told(clock: FakeClock) -> None:
    facts = SharedFacts(clock)
    facts.put("a", "one", 10)

    assert not facts.untold


def test_what_is_not_told_yet_stands_against_what_others_say(clock: FakeClock) -> None:
    told: list[str] = []
    facts = SharedFacts(clock, tell=lambda: told.append("there is something"))
    facts.put("a", "mine", 10)
    assert told == ["there is something"]
    facts.learn([Fact("a", "theirs", 10), Fact("b", "theirs", 10)])

    assert facts.get_all("") == {"a": "mine", "b": "theirs"}

    clock.advance(seconds=4)
    assert facts.take_untold() == [Fact("a", "mine", 6)]
    facts.learn([Fact("a", "newer", 10)])
    assert facts.get_all("") == {"a": "newer"}
