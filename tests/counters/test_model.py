"""Both kinds of counters do what the model does, whatever happens and whatever clocks do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from outcrop.counters.limit import Counters, Grant, Hold, Limit, Refused
from tests.clocks import FakeClock
from tests.counters.leaping_clock import in_one_process, in_valkey
from tests.counters.model import Charge, Model
from tests.valkey import ValkeyProcess

LIMITS = (
    Limit(key="tokens", most=100, span_s=60),
    Limit(key="tokens a day", most=150, span_s=86_400),
    Limit(key="requests", most=5, span_s=60),
    Limit(key="at once", most=3, span_s=0),
)

AMOUNTS = {"tokens": 110, "tokens a day": 160, "requests": 2, "at once": 2}
holds = st.lists(
    st.sampled_from(LIMITS).flatmap(
        lambda limit: st.builds(Hold, st.just(limit), st.integers(0, AMOUNTS[limit.key]))
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda hold: hold.limit.key,
)
used = st.dictionaries(st.sampled_from([limit.key for limit in LIMITS]), st.integers(0, 170))
steps = st.lists(
    st.one_of(
        holds,
        st.tuples(st.integers(0, 20), used),
        st.sampled_from([0.25, 1.0, 7.5, 59.75, 60.0, 61.0, 3_600.0, 86_400.0]),
        st.just("set back"),
    ),
    max_size=40,
)
Step = list[Hold] | tuple[int, Mapping[str, int]] | float | str


class Played:
    """The model and what is to do as it does, side by side."""

    def __init__(
        self, counters: Counters, clock: FakeClock, after: Callable[[], Awaitable[None]]
    ) -> None:
        self.counters = counters
        self.clock = clock
        self.after = after
        self.model = Model()
        self.granted: list[tuple[Grant, Sequence[Charge]]] = []

    async def play_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.play(step)

    async def play(self, step: Step) -> None:
        match step:
            case list():
                await self.hold(step)
            case (which, amounts) if self.granted:
                grant, charges = self.granted.pop(which % len(self.granted))
                self.counters.settle(grant, amounts)
                self.model.settle(charges, amounts)
            case float():
                self.clock.advance(seconds=step)
                self.model.now_s += step
            case str():
                self.clock.moment -= timedelta(hours=3)
                # The moment in which it is set passes for nobody.
                await self.counters.used(LIMITS)
            case _:
                pass  # nothing is granted that could be settled
        await self.after()
        assert await self.counters.used(LIMITS) == [self.model.used(limit) for limit in LIMITS]
        await self.after()

    async def hold(self, holds: list[Hold]) -> None:
        answer, expected = await self.counters.hold(holds), self.model.hold(holds)
        if isinstance(answer, Refused):
            assert (answer.limit, answer.retry_after_s) == expected
        else:
            assert isinstance(expected, list)
            self.granted.append((answer, expected))


@given(steps)
@settings(max_examples=300)
@pytest.mark.slow
def test_counters_of_one_process_do_what_the_model_does(steps: list[Step]) -> None:
    in_one_process(lambda setting: Played(*setting).play_all(steps))


@given(steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_counters_in_valkey_do_what_the_model_does_while_its_clock_is_set_all_the_time(
    valkey: ValkeyProcess, steps: list[Step]
) -> None:
    in_valkey(valkey, lambda setting: Played(*setting).play_all(steps))
