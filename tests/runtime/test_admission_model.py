"""Admission as a whole, quotas, units and spillover, against the rules said plainly."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from msgspec import Struct

from outcrop.counters.limit import Counters, Grant, Hold, Limit, Refused
from outcrop.fleet.slots import Standing
from outcrop.metering.config import QuotaConfig
from outcrop.runtime.admission import SPILLOVER, Admitted
from outcrop.wire.errors import ServiceUnavailableException, ThrottlingException
from tests.clocks import FakeClock
from tests.counters.conftest import one_valkey, valkey
from tests.counters.leaping_clock import in_one_process, in_valkey
from tests.counters.model import Charge, Model
from tests.runtime.test_admission import BOUGHT, NOVA, UNIT, World, used
from tests.valkey import ValkeyProcess

__all__ = ["one_valkey", "valkey"]

RULE = QuotaConfig(
    tokens_per_minute=120, tokens_per_day=300, requests_per_minute=6, concurrent_requests=3
)
ON_DEMAND = f"on_demand/111122223333/us-east-1/{NOVA}"
MINUTE = Limit(key=f"{ON_DEMAND}/minute", most=120, span_s=60)
DAY = Limit(key=f"{ON_DEMAND}/day", most=300, span_s=86_400)
REQUESTS = Limit(key=f"{ON_DEMAND}/requests", most=6, span_s=60)
AT_ONCE = Limit(key=f"{ON_DEMAND}/concurrent", most=3, span_s=0)
INPUT = Limit(key=f"provisioned/{BOUGHT}/input", most=UNIT.input_tokens_per_minute, span_s=60)
OUTPUT = Limit(key=f"provisioned/{BOUGHT}/output", most=UNIT.output_tokens_per_minute, span_s=60)
LIMITS = (MINUTE, DAY, REQUESTS, AT_ONCE, INPUT, OUTPUT)


class Comes(Struct, frozen=True):
    bought: bool
    spills: bool
    tokens_in: int
    tokens_out: int


class Ends(Struct, frozen=True):
    which: int
    used: tuple[int, int] | None
    """None: nothing was generated."""


class Passes(Struct, frozen=True):
    seconds: float


Step = Comes | Ends | Passes
tokens = st.integers(0, 70)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Comes, st.booleans(), st.booleans(), tokens, tokens),
        st.builds(Ends, st.integers(0, 20), st.none() | st.tuples(tokens, tokens)),
        st.builds(Passes, st.sampled_from([0.5, 7.0, 30.0, 61.0, 86_461.0])),
    ),
    max_size=40,
)
Told = tuple[Standing, bool] | tuple[type[Exception], float | None]
Charged = Sequence[Charge]


class Rules:
    """Units first, if it has any; else, or where it may spill over, the account's quotas."""

    def __init__(self) -> None:
        self.counted = Model()

    def comes(self, call: Comes) -> tuple[Told, Charged]:
        units = [Hold(INPUT, call.tokens_in), Hold(OUTPUT, call.tokens_out)]
        if call.bought:
            granted = self.counted.hold(units)
            if isinstance(granted, list):
                return (Standing.PROVISIONED, False), granted
            if not call.spills:
                return (ThrottlingException, granted[1]), ()
        both = call.tokens_in + call.tokens_out
        quotas = [Hold(MINUTE, both), Hold(DAY, both), Hold(REQUESTS, 1), Hold(AT_ONCE, 1)]
        granted = self.counted.hold(quotas)
        if isinstance(granted, list):
            return (Standing.DEFAULT, call.bought), granted
        limit, wait_s = granted
        refusal = ServiceUnavailableException if limit == AT_ONCE else ThrottlingException
        return (refusal, wait_s), ()

    def ends(self, charged: Charged, spent: tuple[int, int] | None) -> None:
        read, written = spent or (0, 0)
        amounts = {INPUT.key: read, OUTPUT.key: written, REQUESTS.key: 1}
        amounts |= {MINUTE.key: read + written, DAY.key: read + written}
        self.counted.settle(charged, amounts)


class Between:
    """Does something before each hold: an admission may need two."""

    def __init__(self, counters: Counters, before: Callable[[], Awaitable[None]]) -> None:
        self._before = before
        self._counters = counters
        self.settle = counters.settle
        self.used = counters.used

    async def hold(self, holds: Sequence[Hold]) -> Grant | Refused:
        await self._before()
        return await self._counters.hold(holds)


class Played:
    def __init__(
        self, counters: Counters, clock: FakeClock, after: Callable[[], Awaitable[None]]
    ) -> None:
        self.counters = counters
        self.clock = clock
        self.after = after
        self.world = World(RULE, counters=Between(counters, after))
        self.rules = Rules()
        self.open: list[tuple[Admitted, Charged]] = []

    async def play_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self.play(step)
        await self.end_all()

    async def play(self, step: Step) -> None:
        match step:
            case Comes():
                await self.comes(step)
            case Ends(which, spent) if self.open:
                admitted, charged = self.open.pop(which % len(self.open))
                if spent:
                    used(admitted.invocation, input_tokens=spent[0], output_tokens=spent[1])
                admitted.settle()
                self.rules.ends(charged, spent)
            case Passes(seconds):
                self.clock.advance(seconds=seconds)
                self.rules.counted.now_s += seconds
            case _:
                pass  # nobody is there who could end
        await self.after()
        counted = self.rules.counted
        assert await self.counters.used(LIMITS) == [counted.used(limit) for limit in LIMITS]
        await self.after()

    async def comes(self, call: Comes) -> None:
        expected, charged = self.rules.comes(call)
        assert await self.told(call, charged) == expected

    async def told(self, call: Comes, charged: Charged) -> Told:
        try:
            admitted = await self.world.admit(
                BOUGHT if call.bought else NOVA,
                body_bytes=4 * call.tokens_in,
                max_tokens=call.tokens_out,
                headers={SPILLOVER: "on" if call.spills else "off"},
            )
        except (ThrottlingException, ServiceUnavailableException) as error:
            return type(error), error.retry_after_s
        self.open.append((admitted, charged))
        return Standing(admitted.rank.standing), admitted.invocation.spilled_over

    async def end_all(self) -> None:
        """Nothing leaks: of calls at once at once, of tokens when their span is over."""
        for which in range(len(self.open)):
            await self.play(Ends(which, None))
        assert await self.counters.used([AT_ONCE]) == [0]
        await self.play(Passes(86_461.0))
        assert await self.counters.used(LIMITS) == [0] * len(LIMITS)


@given(steps)
@settings(max_examples=200)
@pytest.mark.slow
def test_in_one_process_a_call_is_admitted_as_the_rules_say(steps: list[Step]) -> None:
    in_one_process(lambda setting: Played(*setting).play_all(steps))


@given(steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_in_valkey_a_call_is_admitted_as_the_rules_say_whatever_its_clock_does(
    valkey: ValkeyProcess, steps: list[Step]
) -> None:
    in_valkey(valkey, lambda setting: Played(*setting).play_all(steps))
