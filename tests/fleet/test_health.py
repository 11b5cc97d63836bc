"""What a server's answers make of its health, on time that the test moves."""

from hypothesis import given, strategies as st

from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.health import Health

RULES = RoutingConfig(consecutive_failures=3, ejection_s=5, longest_ejection_s=60)


def failure(status: int | None = None, *, retry_after_s: float | None = None) -> ServerFailureError:
    kind = FailureKind.TIMED_OUT if status is None else FailureKind.STATUS
    return ServerFailureError("gpu", kind, status=status, retry_after_s=retry_after_s)


def fail(health: Health, now: float, times: int = 3) -> None:
    for _ in range(times):
        health.failed(failure(), now, RULES)


def test_failures_in_a_row_eject_and_an_answer_between_them_forgives() -> None:
    health = Health()

    fail(health, 0, 2)
    health.answered(0)
    fail(health, 0, 2)
    assert health.admits(0, 0)

    fail(health, 0, 1)
    assert (health.state(0), health.admits(4.9, 0)) == ("ejected", False)
    assert health.why == "timed out"


def test_one_request_at_a_time_tries_a_server_until_it_has_answered_three() -> None:
    health = Health()
    fail(health, 0)

    for now in (5.0, 6.0, 7.0):
        assert health.state(now) == "on trial"
        assert (health.admits(now, 0), health.admits(now, 1)) == (True, False)
        health.answered(now)

    assert (health.state(8), health.admits(8, 100)) == ("healthy", True)


def test_each_ejection_soon_after_the_last_is_twice_as_long_up_to_the_longest() -> None:
    health, now, spans = Health(), 0.0, []
    for _ in range(6):
        fail(health, now)
        spans.append(health.until - now)
        now = health.until
        assert health.admits(now, 0)

    assert spans == [5, 10, 20, 40, 60, 60]

    for _ in range(3):
        health.answered(now)
    fail(health, now + 61)
    assert health.until == now + 61 + 5


def test_what_is_wrong_with_the_request_says_nothing_of_the_server() -> None:
    health = Health()

    for status in (400, 413, 422) * 5:
        health.failed(failure(status), 0, RULES)

    assert health.well


def test_a_busy_server_is_left_alone_for_as_long_as_it_says_and_is_not_sick() -> None:
    health = Health()

    for _ in range(5):
        health.failed(failure(429, retry_after_s=7), 0, RULES)

    assert (health.state(6.9), health.admits(6.9, 0)) == ("resting", False)
    # An answer to what it was asked before does not end its rest.
    health.answered(-1)
    assert not health.admits(6.9, 0)
    assert (health.state(7), health.admits(7, 100)) == ("healthy", True)


def test_a_rest_is_no_longer_than_the_longest_ejection() -> None:
    health = Health()

    health.failed(failure(503, retry_after_s=86_400), 0, RULES)

    assert health.admits(60, 0)


def test_a_probe_brings_back_a_server_and_only_a_probe_where_there_is_one() -> None:
    health = Health()
    health.is_probed()
    fail(health, 0)

    assert not health.admits(1_000, 0)
    health.probed(1_000, RULES, answers=False)
    assert (health.state(1_000), health.left_alone_until) == ("ejected", 1_010)

    health.probed(1_010, RULES, answers=True)
    assert (health.state(1_010), health.admits(1_010, 1)) == ("on trial", False)


def test_the_least_bad_that_answers_though_ejected_is_on_trial_at_once() -> None:
    health = Health()
    fail(health, 0)

    health.answered(-1)
    assert health.state(1) == "ejected"
    health.answered(1)
    assert health.state(1) == "on trial"


OUTCOMES = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from(["answer", "timeout", "busy", "sick", "refused", "probed"]),
    ),
    max_size=60,
)


@given(OUTCOMES, st.sampled_from(["time", "probe"]))
def test_whatever_happens_a_server_comes_back_when_it_answers_again(
    outcomes: list[tuple[float, str]], brought_back_by: str
) -> None:
    health, now = Health(), 0.0
    if brought_back_by == "probe":
        health.is_probed()
    happens = {
        "answer": lambda: health.answered(now),
        "timeout": lambda: health.failed(failure(), now, RULES),
        "busy": lambda: health.failed(failure(429, retry_after_s=9), now, RULES),
        "sick": lambda: health.failed(failure(503, retry_after_s=9), now, RULES),
        "refused": lambda: health.failed(failure(400), now, RULES),
        "probed": lambda: health.probed(now, RULES, answers=False),
    }
    for after_s, outcome in outcomes:
        now += after_s
        happens[outcome]()
        assert health.admits(now, 0) == (health.state(now) in {"healthy", "on trial"})

    now += 61
    health.probed(now, RULES, answers=True)
    for _ in range(3):
        assert health.admits(now, 0)
        health.answered(now)

    assert health.well
