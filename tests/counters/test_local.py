"""Counting within one process."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from outcrop.counters.limit import Grant, Hold, Limit, Refused
from outcrop.counters.local import LocalCounters
from tests.clocks import FakeClock
from tests.counters.workers import concurrent, granted, per_minute, refused

TOKENS = per_minute(100)
REQUESTS = concurrent(2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters(clock: FakeClock) -> LocalCounters:
    return LocalCounters(clock)


def now(asked: Coroutine[Any, Any, Any]) -> Any:
    """What it answers without ever suspending."""
    with pytest.raises(StopIteration) as answered:
        asked.send(None)
    return answered.value.value


def test_what_fits_is_granted_at_once_and_what_does_not_is_refused(
    counters: LocalCounters,
) -> None:
    assert isinstance(now(counters.hold([Hold(TOKENS, 100)])), Grant)
    assert isinstance(now(counters.hold([Hold(TOKENS, 1)])), Refused)


def test_nothing_is_held_of_one_limit_when_another_refuses(counters: LocalCounters) -> None:
    now(counters.hold([Hold(REQUESTS, 2)]))

    answer = now(counters.hold([Hold(TOKENS, 10), Hold(REQUESTS, 1)]))

    assert answer == Refused(REQUESTS, 1.0)
    assert now(counters.used([TOKENS, REQUESTS])) == [0, 2]


def test_a_refusal_says_when_enough_has_left(counters: LocalCounters, clock: FakeClock) -> None:
    now(counters.hold([Hold(TOKENS, 30)]))
    clock.advance(seconds=20)
    now(counters.hold([Hold(TOKENS, 60)]))

    small, large = (now(counters.hold([Hold(TOKENS, amount)])) for amount in (11, 41))
    assert (small.retry_after_s, large.retry_after_s) == (41, 61)

    clock.advance(seconds=41)
    assert isinstance(now(counters.hold([Hold(TOKENS, 11)])), Grant)


def test_of_several_refusals_the_longest_wait_is_told(
    counters: LocalCounters, clock: FakeClock
) -> None:
    daily = Limit(key="daily", most=100, span_s=86_400)
    now(counters.hold([Hold(TOKENS, 100), Hold(daily, 100), Hold(REQUESTS, 2)]))

    answer = now(counters.hold([Hold(TOKENS, 1), Hold(daily, 1), Hold(REQUESTS, 1)]))

    assert answer == Refused(daily, 1_441 * 60)


def test_no_wait_helps_what_is_above_the_limit_itself(counters: LocalCounters) -> None:
    answer = now(counters.hold([Hold(TOKENS, 101), Hold(REQUESTS, 1)]))

    assert answer == Refused(TOKENS, None)


def test_what_was_not_used_is_given_back_once(counters: LocalCounters) -> None:
    grant = now(counters.hold([Hold(TOKENS, 80), Hold(REQUESTS, 1)]))

    counters.settle(grant, {"tokens": 30})
    counters.settle(grant, {"tokens": 30})

    assert now(counters.used([TOKENS, REQUESTS])) == [30, 0]


def test_what_was_used_beyond_the_hold_counts_from_now_room_or_not(
    counters: LocalCounters, clock: FakeClock
) -> None:
    grant = now(counters.hold([Hold(TOKENS, 80)]))
    clock.advance(seconds=30)
    counters.settle(grant, {"tokens": 130})

    assert now(counters.used([TOKENS])) == [130]
    clock.advance(seconds=31)
    assert now(counters.used([TOKENS])) == [50]


def test_what_has_left_the_span_is_not_given_back_again(
    counters: LocalCounters, clock: FakeClock
) -> None:
    grant = now(counters.hold([Hold(TOKENS, 80)]))
    clock.advance(seconds=61)
    now(counters.hold([Hold(TOKENS, 10)]))

    counters.settle(grant, {"tokens": 0})

    assert now(counters.used([TOKENS])) == [10]


def test_a_clock_that_is_set_back_frees_nothing_and_stops_nothing(
    counters: LocalCounters, clock: FakeClock
) -> None:
    now(counters.hold([Hold(TOKENS, 100)]))
    clock.advance(hours=-5)

    assert now(counters.hold([Hold(TOKENS, 1)])).retry_after_s == 61

    clock.advance(seconds=61)
    assert isinstance(now(counters.hold([Hold(TOKENS, 100)])), Grant)


def test_a_limit_of_a_changed_span_begins_anew(counters: LocalCounters) -> None:
    now(counters.hold([Hold(TOKENS, 100)]))

    hourly = Limit(key=TOKENS.key, most=100, span_s=3_600)

    assert isinstance(now(counters.hold([Hold(hourly, 100)])), Grant)


def test_keys_that_count_nothing_are_forgotten(counters: LocalCounters, clock: FakeClock) -> None:
    for number in range(10_000):
        now(counters.hold([Hold(per_minute(10, f"tokens {number}"), 1)]))
        clock.advance(seconds=1)

    assert len(counters._windows) <= 1_024
    assert now(counters.used([per_minute(10, "tokens 9990")])) == [1]


@pytest.mark.slow
def test_under_full_load_a_limit_is_used_to_98_of_100(
    counters: LocalCounters, clock: FakeClock
) -> None:
    limit = per_minute(6_000)
    granted_in_all = 0

    for _ in range(20 * 60 * 10):
        clock.advance(milliseconds=100)
        for _ in range(2):
            granted_in_all += 10 * isinstance(now(counters.hold([Hold(limit, 10)])), Grant)

    assert 0.98 * 20 * 6_000 <= granted_in_all <= 20 * 6_000


def test_both_kinds_of_counters_answer_a_waiting_caller() -> None:
    async def run() -> None:
        counters = LocalCounters(FakeClock())
        await granted(counters, Hold(REQUESTS, 2))
        assert (await refused(counters, Hold(REQUESTS, 1))).limit == REQUESTS

    asyncio.run(run())
