"""Usage records as tests want them."""

from itertools import count
from typing import Any

from outcrop.store.usage_records import UsageRecord
from outcrop.wire.timestamps import to_micros
from tests.clocks import FakeClock

ACCOUNT, REGION = "111122223333", "us-east-1"
MODEL = "amazon.nova-lite-v1:0"
PRINCIPAL = f"arn:aws:iam::{ACCOUNT}:user/ada"
RATES = (60_000, 240_000, 15_000, 60_000)
_numbers = count(1)


def record(clock: FakeClock, **changes: Any) -> UsageRecord:
    """A Converse of 9 tokens in and 5 out that ends now, after 200 milliseconds."""
    members: dict[str, Any] = {
        "request_id": f"request-{next(_numbers)}",
        "operation": "Converse",
        "account_id": ACCOUNT,
        "principal_arn": PRINCIPAL,
        "region": REGION,
        "inference_region": None,
        "model_id": MODEL,
        "foundation_model_id": MODEL,
        "inference_profile_arn": None,
        "provisioned_model_arn": None,
        "tags": (),
        "request_metadata": None,
        "duration_us": 200_000,
        "first_event_us": 50_000,
        "streamed": False,
        "outcome": "success",
        "status": 200,
        "error": None,
        "service_tier": None,
        "resolved_service_tier": None,
        "input_tokens": 9,
        "output_tokens": 5,
        "cache_read_input_tokens": 0,
        "cache_write_input_tokens": 0,
        "estimated": False,
        "rates": RATES,
        **changes,
    }
    members.setdefault("began_at", to_micros(clock()) - members["duration_us"])
    return UsageRecord(**members)
