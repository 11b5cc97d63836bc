"""What is measured agrees with what happened, under labels that cannot grow for ever."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from outcrop.metering.config import MetricsConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.measures import OTHER, TOKENS, Measures
from outcrop.metering.prometheus import exposition
from outcrop.metering.recording import CANCELLED, Ending
from outcrop.metering.snapshot import ServerNow, Snapshot, merged
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from tests.clocks import FakeClock
from tests.runtime.requests import ACCOUNT, invocation

MODEL = "amazon.nova-lite-v1:0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Call(Struct, frozen=True):
    model: str
    region: str
    profile: str | None
    error: str | None
    seconds: float
    output_tokens: int


calls = st.builds(
    Call,
    model=st.sampled_from(["a", "b"]),
    region=st.sampled_from(["us-east-1", "eu-west-1"]),
    profile=st.sampled_from([None, "p", "q"]),
    error=st.sampled_from([None, "ThrottlingException"]),
    seconds=st.floats(0, 200),
    output_tokens=st.integers(0, TOKENS[-1] * 2),
)


def told(measures: Measures, call: Call) -> None:
    made = answered(call.model, call.region, call.profile)
    if call.error is None:
        made.first_event_at = made.began_at + timedelta(seconds=call.seconds / 2)
        made.usage = used(output_tokens=call.output_tokens)
    ended(measures, made, seconds=call.seconds, error=call.error)


def answered(
    model: str = MODEL, region: str = "us-east-1", profile: str | None = None
) -> ModelInvocation:
    made = invocation(region)
    made.model_id = made.foundation_model_id = model
    if profile is not None:
        kind = "application-inference-profile"
        made.inference_profile_arn = f"arn:aws:bedrock:{region}:{ACCOUNT}:{kind}/{profile}"
    return made


def used(*, output_tokens: int = 7, cache_read: int | None = None) -> TokenUsage:
    return TokenUsage(
        input_tokens=11,
        output_tokens=output_tokens,
        total_tokens=11 + output_tokens,
        cache_read_input_tokens=cache_read,
    )


def ended(
    measures: Measures, made: ModelInvocation, *, seconds: float = 1, error: str | None = None
) -> None:
    measures.began(made)
    at = made.began_at + timedelta(seconds=seconds)
    measures.ended(made, Ending(at, 200 if error is None else 429, error))


def snapshot(measures: Measures) -> Snapshot:
    return Snapshot(
        series=measures.series, requests=measures.requests, in_progress=measures.in_progress
    )


def samples(of: Snapshot) -> Samples:
    """As a scraper reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition(of).decode())
        for sample in family.samples
    }


def total(found: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(
        value for (has_name, has), value in found.items() if has_name == name and wanted <= has
    )


def test_an_answer_is_counted_with_its_times_and_tokens() -> None:
    measures = Measures(MetricsConfig())
    made = answered()
    made.first_event_at = made.began_at + timedelta(seconds=0.3)
    made.usage = used(output_tokens=8, cache_read=4)

    ended(measures, made, seconds=1.0)
    found = samples(snapshot(measures))

    assert total(found, "gen_ai_server_request_duration_seconds_sum") == 1.0
    assert total(found, "gen_ai_server_request_duration_seconds_bucket", le="0.64") == 0
    assert total(found, "gen_ai_server_request_duration_seconds_bucket", le="1.28") == 1
    assert total(found, "gen_ai_server_time_to_first_token_seconds_sum") == 0.3
    assert total(found, "gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.1)
    assert total(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 11
    assert (
        total(found, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="4.0") == 0
    )
    assert (
        total(found, "gen_ai_client_token_usage_bucket", gen_ai_token_type="output", le="16.0") == 1
    )
    assert total(found, "outcrop_cache_tokens_total", outcrop_cache="read") == 4


def test_a_refusal_has_a_type_and_no_tokens() -> None:
    measures = Measures(MetricsConfig())

    ended(measures, answered(), error="ThrottlingException")
    found = samples(snapshot(measures))

    name = "gen_ai_server_request_duration_seconds_count"
    assert total(found, name, error_type="ThrottlingException") == 1
    assert total(found, "gen_ai_client_token_usage_count") == 0


def test_what_began_is_in_progress_until_it_ends_however_it_ends() -> None:
    measures = Measures(MetricsConfig())
    first, second = answered(), answered()
    measures.began(first)
    measures.began(second)

    measures.ended(first, Ending(FakeClock()(), 499, CANCELLED))

    assert measures.in_progress == 1


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    measures = Measures(MetricsConfig())

    ended(measures, answered(), seconds=-3)

    assert samples(snapshot(measures)) != {}
    assert total(samples(snapshot(measures)), "gen_ai_server_request_duration_seconds_sum") == 0


def test_labels_do_not_grow_with_what_callers_say() -> None:
    measures = Measures(MetricsConfig(most_profiles=10, most_series=50))

    for number in range(1_000):
        ended(measures, answered(region=f"xx-made-{number}", profile=f"p{number}"))
        ended(measures, answered(model=f"m{number % 200}"))
    found = samples(snapshot(measures))
    name = "gen_ai_server_request_duration_seconds_count"

    assert len(measures.series) <= 51
    assert total(found, name) == 2_000
    assert total(found, name, gen_ai_request_model=OTHER) > 0
    assert len({dict(labels).get("outcrop_inference_profile") for _, labels in found}) <= 12


def test_any_name_survives_the_text_form() -> None:
    measures = Measures(MetricsConfig())
    name = 'a "quoted" \\ back\nslash'

    ended(measures, answered(model=name))

    count = "gen_ai_server_request_duration_seconds_count"
    assert total(samples(snapshot(measures)), count, gen_ai_request_model=name) == 1


@given(st.lists(calls, max_size=12), st.lists(calls, max_size=12))
def test_two_workers_are_told_of_as_one_that_did_all(one: list[Call], other: list[Call]) -> None:
    first, second, alone = (Measures(MetricsConfig()) for _ in range(3))
    for call in one:
        told(first, call)
        told(alone, call)
    for call in other:
        told(second, call)
        told(alone, call)
    # As it goes from one worker to the other.
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot(second)), type=Snapshot)

    together, apart = samples(snapshot(alone)), samples(merged([snapshot(first), sent]))

    assert apart.keys() == together.keys()
    assert all(abs(apart[key] - together[key]) < 1e-6 for key in apart)


def test_of_a_server_the_worker_that_leaves_it_alone_is_believed() -> None:
    one = Snapshot(servers=[ServerNow("gpu", healthy=True, in_flight=2)], waiting=1)
    other = Snapshot(servers=[ServerNow("gpu", healthy=False, in_flight=1)], waiting=2)

    found = samples(merged([one, other]))

    assert total(found, "outcrop_model_server_healthy", outcrop_model_server="gpu") == 0
    assert total(found, "outcrop_model_server_in_flight") == 3
    assert total(found, "outcrop_invocations_waiting") == 3
