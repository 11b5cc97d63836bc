"""Who may go ahead, before whom, and what is held until the answer is over."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from outcrop.counters.limit import Counters, Limit
from outcrop.counters.local import LocalCounters
from outcrop.fleet.fleet import Fleet
from outcrop.fleet.slots import Standing
from outcrop.fleet.units import ModelUnit, Units
from outcrop.metering.config import AdmissionConfig, QuotaConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.quotas import Quotas
from outcrop.runtime.admission import SPILLOVER, Admission, Admitted
from outcrop.runtime.estimates import tokens_of_text
from outcrop.runtime.target import Target, Targets
from outcrop.store.catalogue import Catalogue
from outcrop.wire.errors import ServiceUnavailableException, ThrottlingException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from tests.clocks import FakeClock
from tests.fakes.records import (
    FakeInferenceProfiles,
    FakeProvisionedModelThroughputs,
    provisioned_model,
)
from tests.runtime.requests import caller, invocation

NOVA = "amazon.nova-lite-v1:0"
BOUGHT = "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/0123456789ab"
UNIT = ModelUnit(input_tokens_per_minute=100, output_tokens_per_minute=50)


class World:
    """An Admission, and calls through it."""

    def __init__(
        self,
        *rules: QuotaConfig,
        unit: ModelUnit | None = UNIT,
        counters: Counters | None = None,
        **terms: Any,
    ) -> None:
        self.counters = counters or LocalCounters(FakeClock())
        units = {} if unit is None else {(NOVA, None): (unit, "declared")}
        self._admission = Admission(
            self.counters,
            Quotas(rules),
            Units(units, [], bases={}),  # type: ignore[arg-type]
            AdmissionConfig(**{"assumed_max_tokens": 10, **terms}),
        )
        model_arn = f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"
        self._targets = Targets(
            Catalogue(),
            Fleet([], None),
            FakeInferenceProfiles(),
            FakeProvisionedModelThroughputs([provisioned_model(BOUGHT, model_arn)]),
        )

    async def admit(
        self,
        model_id: str = NOVA,
        *,
        body_bytes: int = 40,
        max_tokens: int | None = None,
        tier: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Admitted:
        made = invocation()
        made.service_tier, made.headers = tier, headers or {}
        target: Target = await self._targets.resolve(caller(), model_id)
        return await self._admission.admit(
            made, target, tokens_in=tokens_of_text(body_bytes), tokens_out=max_tokens
        )

    async def used(self, key: str) -> int:
        (used,) = await self.counters.used([Limit(key=key, most=0, span_s=60)])
        return used


def told(work: Callable[[World], Awaitable[Any]], *rules: QuotaConfig, **terms: Any) -> Any:
    async def main() -> Any:
        return await work(World(*rules, **terms))

    return asyncio.run(main())


def used(made: ModelInvocation, *, input_tokens: int, output_tokens: int, **more: Any) -> None:
    made.usage = TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        **more,
    )


@pytest.mark.parametrize(
    ("tier", "standing"),
    [
        (None, Standing.DEFAULT),
        ("default", Standing.DEFAULT),
        ("priority", Standing.PRIORITY),
        ("flex", Standing.FLEX),
    ],
)
def test_a_tier_has_its_place_in_the_queue(tier: str | None, standing: Standing) -> None:
    async def work(world: World) -> Admitted:
        return await world.admit(tier=tier)

    assert told(work).rank.standing == standing


def test_provisioned_traffic_within_its_units_goes_before_every_tier() -> None:
    async def work(world: World) -> Admitted:
        return await world.admit(BOUGHT, tier="flex")

    assert told(work).rank.standing == Standing.PROVISIONED


def test_an_account_has_its_weight_and_a_call_its_deadline() -> None:
    async def work(world: World) -> tuple[Admitted, float]:
        return await world.admit(), asyncio.get_running_loop().time()

    admitted, now = told(work, weights={"111122223333": 2.5}, queue_deadline_s=5)

    assert admitted.rank.weight == 2.5
    assert now < admitted.rank.deadline <= now + 5


def test_what_is_held_is_the_input_and_the_most_output_and_becomes_what_was_used() -> None:
    key = f"on_demand/111122223333/us-east-1/{NOVA}/minute"

    async def work(world: World) -> list[int]:
        admitted = await world.admit(body_bytes=41, max_tokens=20)
        held = await world.used(key)
        used(admitted.invocation, input_tokens=9, output_tokens=2, cache_write_input_tokens=3)
        admitted.settle()
        return [held, await world.used(key)]

    assert told(work, QuotaConfig(tokens_per_minute=100)) == [11 + 20, 9 + 3 + 2]


def test_a_request_that_names_no_maximum_holds_the_assumed_one() -> None:
    async def work(world: World) -> int:
        await world.admit(body_bytes=4)
        return await world.used(f"on_demand/111122223333/us-east-1/{NOVA}/minute")

    assert told(work, QuotaConfig(tokens_per_minute=100), assumed_max_tokens=33) == 34


def test_of_an_answer_that_broke_off_what_was_generated_counts() -> None:
    key = f"on_demand/111122223333/us-east-1/{NOVA}/minute"

    async def work(world: World) -> int:
        admitted = await world.admit(body_bytes=41, max_tokens=20)
        admitted.invocation.estimate = lambda: TokenUsage(
            input_tokens=11, output_tokens=7, total_tokens=18
        )
        admitted.settle()
        return await world.used(key)

    assert told(work, QuotaConfig(tokens_per_minute=100)) == 18


def test_a_call_that_no_server_answered_gives_its_tokens_back_and_stays_a_request() -> None:
    base = f"on_demand/111122223333/us-east-1/{NOVA}"

    async def work(world: World) -> list[int]:
        (await world.admit()).settle()
        return [await world.used(f"{base}/minute"), await world.used(f"{base}/requests")]

    rule = QuotaConfig(tokens_per_minute=100, requests_per_minute=5)
    assert told(work, rule) == [0, 1]


@pytest.mark.parametrize(
    ("rule", "error", "text", "retry_after_s"),
    [
        ({"tokens_per_minute": 30}, ThrottlingException, "Too many tokens, please", 61),
        ({"tokens_per_day": 30}, ThrottlingException, "Too many tokens per day, please", 86_460),
        ({"requests_per_minute": 1}, ThrottlingException, "Too many requests, please", 61),
        ({"concurrent_requests": 1}, ServiceUnavailableException, "Too many connections, pl", 1),
    ],
)
def test_above_a_quota_is_refused_in_amazons_words(
    rule: dict[str, int], error: type[Exception], text: str, retry_after_s: float
) -> None:
    async def work(world: World) -> None:
        await world.admit()
        await world.admit()

    with pytest.raises(error, match=text) as refused:
        told(work, QuotaConfig(**rule))  # type: ignore[arg-type]
    assert refused.value.retry_after_s == retry_after_s  # type: ignore[attr-defined]


def test_what_could_never_be_granted_names_no_time_to_come_back() -> None:
    async def work(world: World) -> None:
        await world.admit(max_tokens=1_000)

    with pytest.raises(ThrottlingException) as refused:
        told(work, QuotaConfig(tokens_per_minute=30))
    assert refused.value.retry_after_s is None


def test_concurrent_calls_are_counted_while_they_last() -> None:
    async def work(world: World) -> Admitted:
        (await world.admit()).settle()
        return await world.admit()

    assert told(work, QuotaConfig(concurrent_requests=1)).rank.standing == Standing.DEFAULT


def test_above_its_units_a_call_is_throttled() -> None:
    async def work(world: World) -> None:
        await world.admit(BOUGHT, max_tokens=30)
        await world.admit(BOUGHT, max_tokens=30)

    with pytest.raises(ThrottlingException, match="Too many tokens, please wait") as refused:
        told(work)
    assert refused.value.retry_after_s == 61


def test_input_and_output_of_a_unit_are_held_apart() -> None:
    async def work(world: World) -> list[int]:
        await world.admit(BOUGHT, body_bytes=400, max_tokens=5)
        key = f"provisioned/{BOUGHT}"
        return [await world.used(f"{key}/input"), await world.used(f"{key}/output")]

    assert told(work) == [100, 5]


@pytest.mark.parametrize(("header", "operator"), [("on", False), ("ON", False), ("", True)])
def test_spillover_makes_it_an_on_demand_call_and_says_so(header: str, *, operator: bool) -> None:
    async def work(world: World) -> Admitted:
        await world.admit(BOUGHT, max_tokens=50)
        return await world.admit(BOUGHT, max_tokens=30, headers={SPILLOVER: header})

    admitted = told(work, spillover=operator)

    assert admitted.rank.standing == Standing.DEFAULT
    assert admitted.invocation.spilled_over is True


def test_a_request_may_decline_the_operators_spillover() -> None:
    async def work(world: World) -> None:
        await world.admit(BOUGHT, max_tokens=50)
        await world.admit(BOUGHT, max_tokens=30, headers={SPILLOVER: "off"})

    with pytest.raises(ThrottlingException):
        told(work, spillover=True)


def test_what_spills_over_is_within_the_accounts_quotas_or_refused() -> None:
    async def work(world: World) -> None:
        await world.admit(BOUGHT, max_tokens=50)
        await world.admit(BOUGHT, max_tokens=30, headers={SPILLOVER: "on"})

    with pytest.raises(ThrottlingException, match="Too many requests"):
        told(work, QuotaConfig(requests_per_minute=0))


def test_within_its_units_no_quota_counts() -> None:
    async def work(world: World) -> Admitted:
        return await world.admit(BOUGHT)

    admitted = told(work, QuotaConfig(requests_per_minute=0))

    assert admitted.invocation.spilled_over is False


def test_units_that_nobody_measured_do_not_limit() -> None:
    async def work(world: World) -> Admitted:
        return await world.admit(BOUGHT, max_tokens=100_000)

    assert told(work, unit=None).rank.standing == Standing.PROVISIONED


@pytest.mark.parametrize(
    ("model_id", "way"),
    [
        (NOVA, "on_demand"),
        (f"us.{NOVA}", "cross_region"),
        ("global.amazon.nova-2-lite-v1:0", "global"),
    ],
)
def test_ways_to_a_model_are_counted_apart(model_id: str, way: str) -> None:
    async def work(world: World) -> int:
        await world.admit(model_id)
        foundation_model_id = model_id.removeprefix("us.").removeprefix("global.")
        return await world.used(f"{way}/111122223333/us-east-1/{foundation_model_id}/requests")

    assert told(work, QuotaConfig(requests_per_minute=9)) == 1
