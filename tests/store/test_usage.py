"""Usage in the store, on both engines: nothing twice, sums exact, queries right."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import msgpack

from outcrop.store.store import open_store
from outcrop.store.usage import MetricName, Usage
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    UsageRecord,
    batch,
    encode_circumstances,
    frame,
    framed,
    records_in,
    whole_frames,
)
from outcrop.store.usage_rollup import rolled_up
from outcrop.store.usage_sums import quantile
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL, REGION, record

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BY_MODEL = (("ModelId", MODEL),)


async def add(usage: Usage, records: Sequence[UsageRecord], journal_id: str = "j") -> None:
    frames = b"".join(map(framed, records))
    assert await usage.add(journal_id, await usage.position(journal_id), frames)


async def sum_of(usage: Usage, name: str, dimensions: tuple[tuple[str, str], ...] = ()) -> float:
    points = await usage.metric(
        ACCOUNT,
        REGION,
        MetricName(name=name, dimensions=dimensions),
        start=NOON - timedelta(days=1),
        end=NOON + timedelta(days=1),
        period_s=60,
    )
    return sum(point.total for point in points)


def test_the_same_part_of_a_journal_counts_once(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            frames = framed(record(clock))

            added = [await store.usage.add("j", 0, frames) for _ in range(3)]

            assert added == [True, False, False]
            assert await store.usage.position("j") == len(frames)
            assert await sum_of(store.usage, "InputTokenCount") == 9
            found = await store.usage.records(ACCOUNT, start=NOON, end=NOON + timedelta(seconds=1))
            assert len(found) == 1

    asyncio.run(main())


def test_use_of_model_units_and_what_spilled_over_are_counted(
    location: str, clock: FakeClock
) -> None:
    """200 tokens in and 100 out are a minute's worth; a call that spilled over took none of it."""

    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/abc123def456"
            bought = {"provisioned_model_arn": arn, "units_per_minute": (200, 100), "rates": None}
            calls = [
                record(clock, input_tokens=50, output_tokens=30, **bought),
                record(clock, input_tokens=20, cache_write_input_tokens=30, **bought),
                record(clock, input_tokens=500, output_tokens=500, spilled_over=True, **bought),
                record(clock, outcome="throttle", input_tokens=0, output_tokens=0, **bought),
            ]
            await add(store.usage, calls)

            by_arn = (("ModelId", arn),)
            assert await sum_of(store.usage, "ProvisionedInputUtilization", by_arn) == 50
            assert await sum_of(store.usage, "ProvisionedOutputUtilization", by_arn) == 35
            assert await sum_of(store.usage, "InvocationSpillovers", by_arn) == 1
            assert await sum_of(store.usage, "InvocationThrottles", by_arn) == 1
            assert await sum_of(store.usage, "Invocations", by_arn) == 3

    asyncio.run(main())


def test_tokens_of_a_cache_are_counted_under_both_names(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            for _ in range(2):
                cached = record(clock, cache_read_input_tokens=7, cache_write_input_tokens=3)
                await add(store.usage, [cached])

            for name, tokens in (("Read", 14), ("Write", 6)):
                assert await sum_of(store.usage, f"Cache{name}InputTokens") == tokens
                assert await sum_of(store.usage, f"Cache{name}InputTokenCount") == tokens

    asyncio.run(main())


def test_two_stores_that_add_at_once_lose_nothing(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with (
            open_store(location, clock=clock) as one,
            open_store(location, clock=clock) as other,
        ):
            async with asyncio.TaskGroup() as tasks:
                for number in range(10):
                    usage = (one, other)[number % 2].usage
                    batch = [record(clock) for _ in range(10)]
                    tasks.create_task(add(usage, batch, f"j{number}"))

            assert await sum_of(one.usage, "Invocations") == 100
            assert await sum_of(other.usage, "InvocationLatency", BY_MODEL) == 20_000

    asyncio.run(main())


def test_metrics_follow_cloudwatch(location: str, clock: FakeClock) -> None:
    """Throttles are neither invocations nor errors."""

    async def main() -> None:
        nothing = {"input_tokens": 0, "output_tokens": 0, "first_event_us": None}
        async with open_store(location, clock=clock) as store:
            await add(
                store.usage,
                [
                    record(clock, streamed=True, cache_read_input_tokens=100),
                    record(clock, outcome="cancelled", streamed=True, output_tokens=2),
                    record(clock, outcome="throttle", status=429, **nothing),
                    record(clock, outcome="client_error", status=400, **nothing),
                    record(clock, outcome="server_error", status=500, **nothing),
                    record(clock, outcome="client_error", foundation_model_id=None, **nothing),
                ],
            )

            got = {
                name: (
                    await sum_of(store.usage, name),
                    await sum_of(store.usage, name, BY_MODEL),
                )
                for name in (
                    "Invocations",
                    "InvocationClientErrors",
                    "InvocationServerErrors",
                    "InvocationThrottles",
                    "InputTokenCount",
                    "OutputTokenCount",
                    "CacheReadInputTokenCount",
                    "CacheWriteInputTokenCount",
                    "TimeToFirstToken",
                )
            }

            assert got == {
                "Invocations": (2, 2),
                "InvocationClientErrors": (2, 1),
                "InvocationServerErrors": (1, 1),
                "InvocationThrottles": (1, 1),
                "InputTokenCount": (18, 18),
                "OutputTokenCount": (7, 7),
                "CacheReadInputTokenCount": (100, 100),
                "CacheWriteInputTokenCount": (0, 0),
                "TimeToFirstToken": (100, 100),
            }

    asyncio.run(main())


def test_periods_are_whole_and_empty_ones_are_left_out(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            for minutes in (0, 1, 1, 180):
                clock.moment = NOON + timedelta(minutes=minutes)
                await add(store.usage, [record(clock)])

            for period_s, expected in (
                (60, [(0, 1), (1, 2), (180, 1)]),
                (300, [(0, 3), (180, 1)]),
                (3_600, [(0, 3), (180, 1)]),
                (86_400, [(-720, 4)]),
            ):
                points = await store.usage.metric(
                    ACCOUNT,
                    REGION,
                    MetricName(name="Invocations", dimensions=BY_MODEL),
                    start=NOON,
                    end=NOON + timedelta(hours=4),
                    period_s=period_s,
                )
                told = [((point.at - NOON) / timedelta(minutes=1), point.total) for point in points]
                assert told == expected

    asyncio.run(main())


def test_percentiles_survive_merging(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            for first in range(0, 1000, 100):
                batch = [
                    record(clock, duration_us=(number + 1) * 1000, began_at=1_795_348_800_000_000)
                    for number in range(first, first + 100)
                ]
                await add(store.usage, batch)

            (point,) = await store.usage.metric(
                ACCOUNT,
                REGION,
                MetricName(name="InvocationLatency", dimensions=()),
                start=NOON,
                end=NOON + timedelta(minutes=1),
                period_s=60,
            )

            assert point.sketch is not None
            assert (point.count, point.least, point.most) == (1000, 1, 1000)
            assert quantile(point.sketch, 0.5) == pytest.approx(500, rel=0.01)
            assert quantile(point.sketch, 0.99) == pytest.approx(990, rel=0.01)

    asyncio.run(main())


def test_metrics_are_listed_by_what_has_values(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        profile = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abc123def456"
        async with open_store(location, clock=clock) as store:
            await add(store.usage, [record(clock, inference_profile_arn=profile)])

            names = await store.usage.metric_names(ACCOUNT, REGION, since=NOON)
            later = await store.usage.metric_names(ACCOUNT, REGION, since=NOON + timedelta(days=1))

            assert {name.dimensions for name in names} == {(), (("ModelId", "abc123def456"),)}
            assert {name.name for name in names} == {
                "Invocations",
                "InvocationLatency",
                "InputTokenCount",
                "OutputTokenCount",
                "EstimatedTPMQuotaUsage",
            }
            assert list(later) == []

            clock.advance(days=1)
            await add(
                store.usage, [record(clock, outcome="throttle", input_tokens=0, output_tokens=0)]
            )
            later = await store.usage.metric_names(ACCOUNT, REGION, since=NOON + timedelta(days=1))
            whole = await store.usage.metric_names(ACCOUNT, REGION, since=NOON)

            assert {name.name for name in later} == {"InvocationThrottles"}
            assert set(names) < set(whole)

    asyncio.run(main())


def test_records_age_out_and_their_sums_stay(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await add(store.usage, [record(clock)])
            span = {"start": NOON - timedelta(days=1), "end": NOON + timedelta(days=1)}

            await store.usage.forget_records(NOON)
            kept = await store.usage.records(ACCOUNT, **span)
            await store.usage.forget_records(NOON + timedelta(seconds=1))

            assert len(kept) == 1
            assert await store.usage.records(ACCOUNT, **span) == []
            assert await sum_of(store.usage, "Invocations") == 1

    asyncio.run(main())


def test_many_tags_are_no_trouble(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        tags = tuple((f"{number:02}" * 60, "v" * 250) for number in range(50))
        async with open_store(location, clock=clock) as store:
            await add(store.usage, [record(clock, tags=tags)])

            (point,) = await store.usage.costs(
                ACCOUNT, start=NOON, end=NOON + timedelta(hours=1), span_s=3_600
            )

            assert point.series.tags == tags

    asyncio.run(main())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**7),
            st.integers(0, 10**6),
            st.integers(0, 7_200),
            st.sampled_from(["ada", "grace"]),
            st.sampled_from([None, (60_000, 240_000, 15_000, 60_000), (1, 2, 3, 4)]),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=50)
def test_sums_agree_with_the_records(
    drawn: list[tuple[int, int, int, str, tuple[int, ...]]],
) -> None:
    clock = FakeClock()
    records = [
        record(
            clock,
            input_tokens=given_in,
            output_tokens=given_out,
            principal_arn=who,
            rates=rates,
            began_at=1_795_348_800_000_000 + second * 1_000_000,
        )
        for given_in, given_out, second, who, rates in drawn
    ]

    sums = rolled_up(b"".join(map(framed, records)))

    for span_s in (3_600, 86_400):
        costs = [
            costs for spans in sums.costs.values() for (s, _), costs in spans.items() if s == span_s
        ]
        assert sum(sum(cost[5:]) for cost in costs) == sum(one.cost for one in records)
        assert sum(cost.input_tokens for cost in costs) == sum(r.input_tokens for r in records)


def listed(circumstances: bytes, calls: list[Call]) -> bytes:
    """As frames were before they had columns."""
    return frame(msgpack.encode((circumstances, calls)))


@pytest.mark.parametrize("in_a_list", [False, True])
def test_calls_of_one_batch_count_as_calls_of_many(
    clock: FakeClock,
    in_a_list: bool,  # noqa: FBT001
) -> None:
    began_at = record(clock).began_at
    records = [
        record(clock, input_tokens=n, streamed=True, began_at=began_at + 40_000_000 * n)
        for n in range(5)
    ]
    shared = Circumstances(**{n: getattr(records[0], n) for n in Circumstances.__struct_fields__})
    calls = [Call(*(getattr(one, n) for n in Call._fields)) for one in records]
    encoded = encode_circumstances(shared)

    together = listed(encoded, calls) if in_a_list else frame(batch(encoded, calls))
    apart = b"".join(map(framed, records))

    assert list(records_in(together)) == list(records_in(apart)) == records
    one, other = rolled_up(together), rolled_up(apart)
    assert (one.metrics, one.costs, one.since, one.until) == (
        other.metrics,
        other.costs,
        other.since,
        other.until,
    )


@given(st.integers(0, 200), st.binary(max_size=20))
def test_a_torn_end_is_not_read(cut: int, rubbish: bytes) -> None:
    clock = FakeClock()
    whole, last = framed(record(clock)), framed(record(clock))
    torn = last[: min(cut, len(last) - 1)]

    assert whole_frames(whole + torn) == len(whole)
    assert whole_frames(whole + b"\0" * 8 + rubbish) == len(whole)
    assert len(list(records_in(whole + last))) == 2
