"""What a token costs, against Amazon's list by hand."""

from decimal import Decimal

import pytest
from msgspec import structs

from outcrop.metering.config import Price
from outcrop.metering.prices import PriceList, Rates
from outcrop.store.usage_records import cost_of

LITE = "amazon.nova-lite-v1:0"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize(
    ("region", "profile_id", "model_id", "tier", "dollars"),
    [
        # 1,000 tokens in, 2,000 out, 3,000 read from a cache, 4,000 written to one.
        ("us-east-1", None, SONNET, None, "0.003 + 0.03 + 0.0009 + 0.015"),
        ("us-east-1", f"us.{SONNET}", SONNET, None, "0.0033 + 0.033 + 0.00099 + 0.0165"),
        ("eu-west-1", f"global.{SONNET}", SONNET, None, "0.003 + 0.03 + 0.0009 + 0.015"),
        ("us-east-1", f"us.{LITE}", LITE, None, "0.00006 + 0.00048 + 0.000045 + 0.00024"),
        ("eu-west-1", f"eu.{LITE}", LITE, None, "0.000078 + 0.000624 + 0.0000585 + 0.000312"),
        (
            "us-east-1",
            None,
            "openai.gpt-oss-20b-1:0",
            "priority",
            "0.0001225 + 0.00105 + 0.0003675 + 0.00049",
        ),
        (
            "us-east-1",
            None,
            "openai.gpt-oss-20b-1:0",
            "flex",
            "0.000035 + 0.0003 + 0.000105 + 0.00014",
        ),
    ],
)
def test_amazons_prices(
    region: str, profile_id: str | None, model_id: str, tier: str | None, dollars: str
) -> None:
    rates = PriceList().rates(region, profile_id, model_id, tier)

    assert rates is not None
    expected = sum(map(Decimal, dollars.split(" + ")), Decimal(0))
    assert Decimal(cost_of((1_000, 2_000, 3_000, 4_000), rates)).scaleb(-12) == expected


def test_the_price_follows_the_source_region() -> None:
    prices = PriceList()

    assert prices.rates("us-west-2", None, LITE, None) is not None
    assert prices.rates("eu-west-1", None, LITE, None) is None


def test_what_has_no_price_is_told_from_what_is_free() -> None:
    prices = PriceList([Price(model="mine")])

    assert prices.rates("us-east-1", None, "mine", None) == (0, 0, 0, 0)
    assert prices.rates("us-east-1", None, "other", None) is None


def test_the_operators_prices_come_first_and_the_nearest_region_of_them() -> None:
    prices = PriceList(
        [
            Price(model=LITE, input_per_1k=Decimal(1)),
            Price(model=LITE, region="eu-", input_per_1k=Decimal(2)),
            Price(model=LITE, region="eu-west-1", input_per_1k=Decimal(3)),
            Price(model=LITE, region="eu-west-1", input_per_1k=Decimal(4)),
        ]
    )

    def dollars(region: str, profile_id: str | None = None) -> int:
        rates = prices.rates(region, profile_id, LITE, None)
        assert rates
        return rates[0] // 10**9

    assert dollars("us-east-1") == 1
    assert dollars("us-east-1", f"us.{LITE}") == 1
    assert dollars("eu-central-1") == 2
    assert dollars("eu-west-1") == 4


def test_model_units_cost_by_commitment() -> None:
    price = Price(model=LITE, model_unit_hour=Decimal(20), model_unit_hour_one_month=Decimal(15))
    prices = PriceList([price])

    assert prices.unit_hour("us-east-1", LITE, None) == 20
    assert prices.unit_hour("us-east-1", LITE, "OneMonth") == 15
    assert prices.unit_hour("us-east-1", LITE, "SixMonths") == 20
    assert prices.unit_hour("us-east-1", SONNET, None) is None


def test_model_units_of_a_context_length_have_their_models_price_or_one_of_their_own() -> None:
    own = Price(model=f"{LITE}:300k", model_unit_hour=Decimal(40))
    prices = PriceList([Price(model=LITE, model_unit_hour=Decimal(20)), own])

    assert prices.unit_hour("us-east-1", f"{LITE}:24k", None) == 20
    assert prices.unit_hour("us-east-1", f"{LITE}:300k", None) == 40
    embed = PriceList([Price(model="cohere.embed-english-v3", model_unit_hour=Decimal(7))])
    assert embed.unit_hour("us-east-1", "cohere.embed-english-v3:0:512", None) == 7


def test_a_price_of_model_units_alone_leaves_tokens_their_price() -> None:
    units = Price(model=LITE, region="us-", model_unit_hour=Decimal(20))
    amazons, own = PriceList(), Price(model=LITE, input_per_1k=Decimal(1))

    def rates(*prices: Price) -> Rates | None:
        return PriceList(prices).rates("us-east-1", None, LITE, None)

    assert rates(units) == amazons.rates("us-east-1", None, LITE, None) != (0, 0, 0, 0)
    assert rates(units, own) == rates(own)
    free = structs.replace(units, input_per_1k=Decimal(0))
    assert rates(free) == (0, 0, 0, 0)


def test_a_price_of_tokens_alone_leaves_model_units_theirs() -> None:
    units = Price(model=LITE, model_unit_hour=Decimal(20))
    nearer = Price(model=LITE, region="us-east-1", input_per_1k=Decimal(1))

    assert PriceList([units, nearer]).unit_hour("us-east-1", LITE, None) == 20


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1000000"])
def test_what_is_no_price_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="is no price"):
        Price(model=LITE, output_per_1k=Decimal(amount))
