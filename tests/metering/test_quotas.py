"""Which rule decides, what a call takes, and Amazon's burndown."""

import pytest

from outcrop.metering.config import QuotaConfig
from outcrop.metering.quotas import Quota, Quotas, Tokens, unit_quotas
from outcrop.store.burndown import burndown_rate
from outcrop.store.catalogue import Catalogue
from outcrop.wire.errors import ServiceUnavailableException, ThrottlingException

ACCOUNT = "111122223333"
NOVA = "amazon.nova-lite-v1:0"
OPUS = "anthropic.claude-opus-4-8"


def taken(quotas: tuple[Quota, ...], tokens: Tokens) -> dict[str, int]:
    return {quota.limit.key.rpartition("/")[2]: quota.taken(tokens) for quota in quotas}


def test_nothing_is_limited_where_no_rule_says_so() -> None:
    assert Quotas([]).of(ACCOUNT, "us-east-1", NOVA, "on_demand") == ()


def test_the_first_rule_that_matches_decides_alone() -> None:
    quotas = Quotas(
        [
            QuotaConfig(model="amazon.*", requests_per_minute=1),
            QuotaConfig(tokens_per_minute=2),
        ]
    )

    assert taken(quotas.of(ACCOUNT, "us-east-1", NOVA, "on_demand"), Tokens(3, 4)) == {
        "requests": 1
    }
    assert list(taken(quotas.of(ACCOUNT, "us-east-1", OPUS, "on_demand"), Tokens(3, 4))) == [
        "minute"
    ]


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        (QuotaConfig(account="1111*"), True),
        (QuotaConfig(account="2222*"), False),
        (QuotaConfig(region="us-*"), True),
        (QuotaConfig(region="eu-*"), False),
        (QuotaConfig(model="amazon.nova-????-v1:0"), True),
        (QuotaConfig(model="amazon.nova"), False),
        (QuotaConfig(way="on_demand"), True),
        (QuotaConfig(way="cross_region"), False),
    ],
)
def test_a_rule_applies_where_all_of_its_patterns_match(
    rule: QuotaConfig, *, applies: bool
) -> None:
    assert rule.applies_to(ACCOUNT, "us-east-1", NOVA, "on_demand") is applies


def test_accounts_regions_models_and_ways_count_by_themselves() -> None:
    quotas = Quotas([QuotaConfig(tokens_per_minute=1)])
    asked = [
        (ACCOUNT, "us-east-1", NOVA, "on_demand"),
        ("444455556666", "us-east-1", NOVA, "on_demand"),
        (ACCOUNT, "us-west-2", NOVA, "on_demand"),
        (ACCOUNT, "us-east-1", OPUS, "on_demand"),
        (ACCOUNT, "us-east-1", NOVA, "global"),
    ]

    keys = {quota.limit.key for one in asked for quota in quotas.of(*one)}

    assert len(keys) == len(asked)


def test_a_call_takes_tokens_of_the_token_quotas_and_one_of_the_others() -> None:
    rule = QuotaConfig(
        tokens_per_minute=9, tokens_per_day=9, requests_per_minute=9, concurrent_requests=9
    )
    quotas = Quotas([rule]).of(ACCOUNT, "us-east-1", OPUS, "on_demand")

    assert taken(quotas, Tokens(100, 10)) == {
        "minute": 150,
        "day": 150,
        "requests": 1,
        "concurrent": 1,
    }
    assert [(quota.refusal, quota.text, quota.limit.span_s) for quota in quotas] == [
        (ThrottlingException, "Too many tokens, please wait before trying again.", 60),
        (ThrottlingException, "Too many tokens per day, please wait before trying again.", 86_400),
        (ThrottlingException, "Too many requests, please wait before trying again.", 60),
        (ServiceUnavailableException, "Too many connections, please wait before trying again.", 0),
    ]


def test_model_units_hold_input_and_output_apart() -> None:
    quotas = unit_quotas("arn:x", input_per_minute=100, output_per_minute=10)

    assert taken(quotas, Tokens(7, 3)) == {"input": 7, "output": 3}
    assert [quota.limit.most for quota in quotas] == [100, 10]


@pytest.mark.parametrize(
    ("model_id", "rate"),
    [
        ("anthropic.claude-v2:1", 1),
        ("anthropic.claude-instant-v1", 1),
        ("anthropic.claude-3-haiku-20240307-v1:0", 1),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 1),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
        ("anthropic.claude-sonnet-4-20250514-v1:0", 5),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", 5),
        ("anthropic.claude-opus-5-5", 5),
        (NOVA, 1),
        ("meta.llama3-1-8b-instruct-v1:0", 1),
    ],
)
def test_output_of_claude_since_3_7_burns_five_for_one(model_id: str, rate: int) -> None:
    assert burndown_rate(model_id) == rate


def test_every_claude_of_the_catalogue_falls_on_the_side_of_its_version() -> None:
    claudes = [
        model.model_id
        for model in Catalogue().foundation_models("us-east-1")
        if model.model_id.startswith("anthropic.claude")
    ]
    early = {one for one in claudes if burndown_rate(one) == 1}

    assert early == {one for one in claudes if "claude-3-" in one and "claude-3-7" not in one}
