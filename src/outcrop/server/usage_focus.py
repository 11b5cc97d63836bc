"""What `outcrop usage --csv` writes: FOCUS 1.2, FinOps' columns for costs and usage (pure).

https://focus.finops.org; every mandatory column is there, and of the conditional ones those whose
condition holds here.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec import json

from outcrop.metering.costs import MODEL_UNIT_HOURS, SERVICE, TAG, TOKENS, CostRow, Granularity
from outcrop.wire.timestamps import iso8601

FOCUS_GROUPS = (
    "LINKED_ACCOUNT",
    "REGION",
    "MODEL",
    "INFERENCE_PROFILE",
    "PROVISIONED_MODEL",
    "PRINCIPAL",
    "USAGE_TYPE",
)
"""What a row is split by, apart from tags."""

COLUMNS: Sequence[str] = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Invocations",
    "x_Model",
    "x_Principal",
)
"""With columns of our own, named as FOCUS wants them."""

_UNITS = {TOKENS: "Tokens", MODEL_UNIT_HOURS: "Unit-Hours"}
_COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_ALWAYS = {
    **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), "Outcrop"),
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "PricingCategory": "Standard",
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": SERVICE,
    "ServiceSubcategory": "Generative AI",
}


def focus_csv(
    rows: Sequence[CostRow],
    group_by: Sequence[str],
    granularity: Granularity,
    *,
    resource_names: Mapping[str, str],
) -> str:
    """A line a charge; what is null is empty. `resource_names`: by ARN."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        names = dict(zip(group_by, row.keys, strict=True))
        writer.writerow(
            _ALWAYS
            | _amounts(row)
            | _times(row.start, granularity)
            | _subject(names, resource_names)
            | {
                "ChargeDescription": names["USAGE_TYPE"] if row.priced else "no price is known",
                "x_Invocations": row.invocations,
            }
        )
    return text.getvalue()


def _amounts(row: CostRow) -> dict[str, str]:
    quantity, unit = f"{row.usage:f}", _UNITS[row.unit]
    # Where a price has changed in between, the mean: times the quantity, it is what it cost.
    price = row.cost / row.usage if row.usage else Decimal(0)
    return {
        **dict.fromkeys(_COSTS, f"{row.cost:f}"),
        "ListUnitPrice": f"{price:f}",
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), quantity),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), unit),
    }


def _times(start: datetime, granularity: Granularity) -> dict[str, str]:
    month = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return {
        "BillingPeriodStart": iso8601(month),
        "BillingPeriodEnd": iso8601(_end(month, "MONTHLY")),
        "ChargePeriodStart": iso8601(start),
        "ChargePeriodEnd": iso8601(_end(start, granularity)),
    }


def _subject(names: Mapping[str, str], resource_names: Mapping[str, str]) -> dict[str, Any]:
    """Who used what."""
    tags = {name.removeprefix(TAG): key for name, key in names.items() if name.startswith(TAG)}
    account, usage_type, region = names["LINKED_ACCOUNT"], names["USAGE_TYPE"], names["REGION"]
    kind, resource = _resource(names)
    return {
        **dict.fromkeys(("BillingAccountId", "SubAccountId", "SubAccountName"), account),
        **dict.fromkeys(("RegionId", "RegionName"), region),
        "ResourceId": resource,
        "ResourceName": resource_names.get(resource, ""),
        "ResourceType": kind,
        **dict.fromkeys(("SkuId", "SkuMeter", "SkuPriceId"), usage_type),
        "Tags": json.encode({key: value for key, value in tags.items() if value}).decode(),
        "x_Model": names["MODEL"],
        "x_Principal": names["PRINCIPAL"],
    }


def _resource(names: Mapping[str, str]) -> tuple[str, str]:
    """Its type, and its ARN or id."""
    if names["PROVISIONED_MODEL"]:
        return "Provisioned Model", names["PROVISIONED_MODEL"]
    if names["INFERENCE_PROFILE"]:
        return "Inference Profile", names["INFERENCE_PROFILE"]
    return "Foundation Model", names["MODEL"]


def _end(start: datetime, granularity: Granularity) -> datetime:
    if granularity == "MONTHLY":
        return (start + timedelta(days=31)).replace(day=1)
    return start + (timedelta(hours=1) if granularity == "HOURLY" else timedelta(days=1))
