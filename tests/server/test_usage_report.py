"""`outcrop usage`: what it tells, and that it fits."""

import asyncio
import csv
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.metering.config import BudgetConfig
from outcrop.server.config import Config
from outcrop.server.usage_report import GROUPS, PERIODS, Question, UsageReport, moment
from outcrop.store.records import InferenceProfileRecord
from outcrop.store.store import Store, open_store
from outcrop.store.usage_records import framed
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL, PRINCIPAL, REGION, record
from tests.metering.units import buy

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def profile(store: Store, profile_id: str) -> str:
    arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/{profile_id}"
    new = InferenceProfileRecord(
        account_id=ACCOUNT,
        region=REGION,
        inference_profile_id=profile_id,
        inference_profile_arn=arn,
        inference_profile_name=f"profile {profile_id}",
        model_arns=(f"arn:aws:bedrock:{REGION}::foundation-model/{MODEL}",),
        created_at=NOON,
        updated_at=NOON,
    )
    await store.inference_profiles.create(new, tags={}, client_token=None, quota=10)
    return arn


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_how_far_budgets_are_spent(tmp_path: Path, clock: FakeClock) -> None:
    budgets = (
        BudgetConfig(name="blue", amount_usd=Decimal("0.12"), tags={"team": "blue"}),
        BudgetConfig(name="today", amount_usd=Decimal(1), period="DAY", when_spent="warn"),
    )
    config = Config(state=tmp_path, budgets=budgets)

    async def fill() -> None:
        async with open_store(config.sqlite_path, clock=clock) as store:
            blue = {"tags": (("team", "blue"),), "output_tokens": 0}
            yesterday = record(clock, input_tokens=10**6, **blue)
            clock.advance(days=1)
            today = record(clock, input_tokens=10**6, output_tokens=0)
            await store.usage.add("j", 0, framed(yesterday) + framed(today))

    asyncio.run(fill())
    question = Question(by=("model",), since=NOON, until=NOON)

    text = asyncio.run(UsageReport(config, clock=clock).text(question, "budgets"))

    assert [line.split() for line in text.splitlines()[1:]] == [
        ["blue", "refuse", "month", "0.060000", "0.12", "50.0%"],
        ["today", "warn", "day", "0.060000", "1", "6.0%"],
    ]


@pytest.fixture
def told(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the command prints of two profiles, one of them unused, and an idle model unit."""
    monkeypatch.setenv("COLUMNS", "80")
    config = Config(state=tmp_path)

    async def fill() -> None:
        async with open_store(config.sqlite_path, clock=clock) as store:
            used = await profile(store, "usedusedused")
            await profile(store, "idleidleidle")
            await buy(store, "idle-units", 1)
            blue: dict[str, Any] = {"inference_profile_arn": used, "tags": (("team", "blue"),)}
            batch = [
                record(clock, input_tokens=10**6, **blue),
                record(clock, foundation_model_id="mine", rates=None),
            ]
            await store.usage.add("j", 0, b"".join(map(framed, batch)))

    asyncio.run(fill())
    clock.advance(hours=2)

    def tell(*by: str, form: str | None = None) -> str:
        question = Question(by=by, since=NOON - timedelta(days=1), until=clock())
        return asyncio.run(UsageReport(config, clock=clock).text(question, form))

    return tell


def test_a_table_fits_the_terminal_and_marks_what_has_no_price(
    told: Callable[..., str],
) -> None:
    table = told("day", "profile", "model")

    assert max(map(len, table.splitlines())) <= 80
    assert "0.060001" in table
    assert "0.000000*" in table
    assert "no price is known" in table
    assert "2.00" in table  # unit hours


def test_in_a_file_nothing_of_a_table_is_cut(
    told: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    with (tmp_path / "table.txt").open("w") as file:
        monkeypatch.setattr(sys, "__stdout__", file)
        table = told("profile", "principal", "usage-type")

    arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/usedusedused"
    assert f"{arn}  {PRINCIPAL}  USE1-nova-lite-v1:0-input-tokens" in table


def test_json_is_exact(told: Callable[..., str]) -> None:
    lines = msgspec.json.decode(told("tag:team", form="json"))

    assert [(line["keys"], line["cost_usd"]) for line in lines] == [
        (["blue"], "0.060001200000"),
        ([""], "0"),
    ]


def test_csv_has_the_columns_of_focus(told: Callable[..., str]) -> None:
    rows = list(csv.DictReader(told("tag:team", form="csv").splitlines()))

    assert {row["ChargeCategory"] for row in rows} == {"Usage"}
    blue = [row for row in rows if row["Tags"] == '{"team":"blue"}']
    assert [(row["SkuId"], row["BilledCost"]) for row in blue] == [
        ("USE1-nova-lite-v1:0-input-tokens", "0.060000000000"),
        ("USE1-nova-lite-v1:0-output-tokens", "0.000001200000"),
    ]
    assert {row["ConsumedUnit"] for row in rows} == {"Tokens", "Unit-Hours"}


# FOCUS_Spec, tags v1.0 and v1.2: feature level Mandatory; those that may be null last.
MANDATORY = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName"),
    *("PublisherName", "ServiceCategory", "ServiceName"),
    # Null for a tax only, of which there is none here.
    *("PricingQuantity", "PricingUnit", "ChargeDescription"),
)
NULLABLE = ("BillingAccountName", "ChargeClass")
# That go with one another: null together, or not at all.
TOGETHER = (
    ("ConsumedQuantity", "ConsumedUnit"),
    ("RegionId", "RegionName"),
    ("ResourceId", "ResourceType"),
    ("SkuId", "SkuMeter"),
    ("SubAccountId", "SubAccountName"),
)


def test_every_mandatory_column_of_focus_is_there_and_has_what_it_must(
    told: Callable[..., str],
) -> None:
    reader = csv.DictReader(told("tag:team", form="csv").splitlines())
    rows = list(reader)

    columns = reader.fieldnames or []
    assert {*MANDATORY, *NULLABLE} <= {*columns}
    assert columns == sorted(columns, key=lambda name: (name.startswith("x_"), name))
    for row in rows:
        assert [name for name in MANDATORY if not row[name]] == []
        assert {bool(row[one]) == bool(row[other]) for one, other in TOGETHER} == {True}
        product = Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"])
        assert product == Decimal(row["ListCost"])
        assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
            "2026-11-01T00:00:00Z",
            "2026-12-01T00:00:00Z",
        )
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    assert {(row["ResourceType"], row["ResourceName"]) for row in rows} == {
        ("Foundation Model", ""),
        ("Inference Profile", "profile usedusedused"),
        ("Provisioned Model", "idle-units"),
    }


BY = {
    "account": [ACCOUNT],
    "principal": [PRINCIPAL, "-"],
    "profile": ["usedusedused", "-"],
    "provisioned": ["idle-units", "-"],
    "region": [REGION],
    "usage-type": ["input-tokens", "output-tokens", "model-unit-hours"],
    "model": [MODEL, "mine"],
    "tag:team": ["blue", "-"],
    "hour": ["2026-11-22 12:00", "2026-11-22 13:00"],
    "day": ["2026-11-22"],
    "month": ["2026-11"],
}


@pytest.mark.parametrize("name", [*GROUPS, *PERIODS, "tag:team"])
def test_each_split_is_a_table_and_bars(
    told: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    head, *lines = told(name).splitlines()
    bars = told(name, form="plot").splitlines()

    assert head.startswith(name)
    for value in BY[name]:
        assert any(value in line for line in lines)
        assert any(value in line for line in bars)
    assert "thousandths of a USD" in bars[0]
    assert any("60.00" in bar for bar in bars)


@pytest.mark.parametrize("name", [*GROUPS, *PERIODS, "tag:team"])
def test_each_split_fits_eighty_columns(told: Callable[..., str], name: str) -> None:
    for form in (None, "plot"):
        text = told(name, form=form)
        assert max(map(len, text.splitlines())) <= 80
        assert "\x1b" not in text


def test_every_split_tells_the_same_sum(told: Callable[..., str]) -> None:
    sums = {
        sum(Decimal(line["cost_usd"]) for line in msgspec.json.decode(told(name, form="json")))
        for name in BY
    }

    assert sums == {Decimal("0.0600012")}


def test_bars_are_drawn(told: Callable[..., str]) -> None:
    bars = told("model", form="plot")

    assert "USD" in bars
    assert MODEL in bars


def test_what_nobody_called_is_found(told: Callable[..., str]) -> None:
    found = told("model", form="unused")

    assert "idleidleidle" in found
    assert "idle-units" in found
    assert "usedusedused" not in found


def test_an_empty_store_makes_an_empty_table(tmp_path: Path, clock: FakeClock) -> None:
    question = Question(by=("model",), since=NOON, until=NOON)
    report = UsageReport(Config(state=tmp_path), clock=clock)

    assert asyncio.run(report.text(question, None)).split() == [
        *("model", "invocations", "tokens", "unit", "hours", "USD")
    ]


def test_what_it_cannot_group_by_is_named(told: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match="--by colour: must be one of"):
        told("colour")


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (("hour", "model", "day"), "--by hour --by day: one of them"),
        (("day", "day"), "--by day --by day: one of them"),
        (("model", "model"), "--by model --by model: each once"),
    ],
)
def test_what_cannot_be_split_by_together_is_refused(by: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Question(by=by, since=NOON, until=NOON)


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="2026-11-22T13:00Z is after --until 2026-11-22T12:00Z"):
        Question(by=("model",), since=NOON + timedelta(hours=1), until=NOON)


@pytest.mark.parametrize(
    "text", ["", "x", "7 d", "7y", "999999w", "2026-02-30", "0001-01-01T00:00+02:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)} is no time such as"):
        moment(text, NOON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOON - timedelta(minutes=90)),
        ("7d", NOON - timedelta(days=7)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:00+02:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_ago_or_dates(text: str, expected: datetime) -> None:
    assert moment(text, NOON) == expected
