"""A call, and the lines that the audit trail has of some."""

import asyncio
import json
from pathlib import Path
from typing import Any

from outcrop.metering.audit import Audited, AuditTrail
from outcrop.metering.config import AuditConfig
from tests.clocks import FakeClock
from tests.runtime.requests import caller

INVOKED = Audited(
    request_id="r-1",
    began_at=FakeClock()(),
    signing_name="bedrock",
    operation="Converse",
    caller=caller(),
    access_key_id="AKIA1",
    user_agent="Boto3/1.44",
    source_address="10.0.0.7",
    model_id="amazon.nova-lite-v1:0",
    input=None,
    output=None,
    error=None,
    inference_region="us-west-2",
    changes=False,
)


def written(folder: Path, *calls: Audited, **config: Any) -> list[Any]:
    """The lines of the file."""
    path = folder / "audit.jsonl"

    async def main() -> None:
        clock = FakeClock()
        trail = AuditTrail(path, AuditConfig(file=path, **config), clock=clock)
        for call in calls:
            trail.add(call)
            clock.advance(seconds=1)
        trail.close()

    asyncio.run(main())
    return [json.loads(line) for line in path.read_text().splitlines()]
