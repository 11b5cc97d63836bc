"""USAGE_TYPE, as Amazon's cost data spell it: Region, model, kind of usage, variant."""

from collections.abc import Mapping

from outcrop.store.usage_rollup import CostSeries

TOKEN_KINDS = (
    "input-tokens",
    "output-tokens",
    "cache-read-input-token-count",
    "cache-write-input-token-count",
)

# Amazon's billing codes; a Region without one stands for itself.
_CODES: Mapping[str, str] = {
    "us-east-1": "USE1",
    "us-east-2": "USE2",
    "us-west-1": "USW1",
    "us-west-2": "USW2",
    "ca-central-1": "CAN1",
    "sa-east-1": "SAE1",
    "eu-west-1": "EUW1",
    "eu-west-2": "EUW2",
    "eu-west-3": "EUW3",
    "eu-central-1": "EUC1",
    "eu-central-2": "EUC2",
    "eu-north-1": "EUN1",
    "eu-south-1": "EUS1",
    "eu-south-2": "EUS2",
    "ap-northeast-1": "APN1",
    "ap-northeast-2": "APN2",
    "ap-northeast-3": "APN3",
    "ap-south-1": "APS3",
    "ap-south-2": "APS5",
    "ap-southeast-1": "APS1",
    "ap-southeast-2": "APS2",
    "us-gov-west-1": "UGW1",
    "us-gov-east-1": "UGE1",
}
_TERMS = {None: "no-commitment", "OneMonth": "1-month", "SixMonths": "6-months"}


def token_usage_type(series: CostSeries, kind: str) -> str:
    """`USE1-nova-lite-v1:0-input-tokens-flex`."""
    variant = f"-{series.service_tier}" if series.service_tier in {"priority", "flex"} else ""
    if ":inference-profile/global." in (series.inference_profile_arn or ""):
        variant += "-cross-region-global"
    if series.provisioned_model_arn is not None and not series.spilled_over:
        variant += "-provisioned"
    return f"{_code(series.region)}-{_short(series.foundation_model_id)}-{kind}{variant}"


def unit_usage_type(region: str, model_id: str, commitment: str | None) -> str:
    return f"{_code(region)}-{_short(model_id)}-model-unit-hours-{_TERMS[commitment]}"


def _code(region: str) -> str:
    return _CODES.get(region, region)


def _short(model_id: str) -> str:
    """Without its vendor."""
    return model_id.partition(".")[2] or model_id
