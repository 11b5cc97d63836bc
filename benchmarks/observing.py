"""What watching adds to an invocation, in CPU time of the process: told of its beginning and end.

Nobody watching, metrics, traces that are recorded and dropped. Without a socket and without a
model: only what an App does for who watches.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from opentelemetry.sdk.trace import TracerProvider

from outcrop.iam.caller import Caller
from outcrop.metering.config import MetricsConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.measures import Measures
from outcrop.metering.recording import Observer, Recording
from outcrop.metering.tracing import Tracing
from outcrop.wire.shapes.bedrock_runtime import TokenUsage

ROUNDS, CALLS = 7, 20_000
AT_MOST_US = 5.0

_BEGAN = datetime(2026, 11, 22, tzinfo=UTC)
_USED = TokenUsage(input_tokens=1_000, output_tokens=100, total_tokens=1_100)
_CALLER = Caller(
    account_id="111122223333",
    arn="arn:aws:iam::111122223333:root",
    user_id="111122223333",
    region="us-east-1",
    partition="aws",
)


def main() -> None:
    asyncio.run(_measure())


async def _measure() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")
    measures = Measures(MetricsConfig())
    watching: dict[str, Sequence[Observer]] = {
        "nobody": (),
        "metrics": (measures,),
        "traces": (Tracing(tracer, _now),),
    }
    taken: dict[str, list[float]] = {name: [] for name in watching}
    for _ in range(ROUNDS):
        for name, observers in watching.items():
            taken[name].append(await _cpu_us(observers, measures))
    nobody = min(taken["nobody"])
    print(f"{'watching, µs of CPU an invocation':40}{'all':>8}{'added':>8}")
    for name, times in taken.items():
        added = min(times) - nobody
        wanted = f"  (wanted: {AT_MOST_US} µs)" if name == "metrics" and added > AT_MOST_US else ""
        print(f"{name:40}{min(times):>8.2f}{added:>8.2f}{wanted}")


async def _cpu_us(observers: Sequence[Observer], measures: Measures) -> float:
    recording = Recording(None, None, observers, clock=_now)
    invocations = [_invocation(number) for number in range(CALLS)]
    counts = measures in observers
    gc.collect()
    began = time.process_time()
    for invocation in invocations:
        recording.began(invocation, b"")
        await recording.ended(invocation)
        if counts:
            measures.answered("bedrock-runtime", "Converse", 200)
    return (time.process_time() - began) / CALLS * 1e6


def _invocation(number: int) -> ModelInvocation:
    made = ModelInvocation(str(number), "Converse", _CALLER, _BEGAN, headers={})
    made.model_id = made.foundation_model_id = "amazon.nova-lite-v1:0"
    made.first_event_at = _BEGAN + timedelta(milliseconds=number % 900)
    made.usage = _USED
    return made


def _now() -> datetime:
    return _BEGAN + timedelta(seconds=1)


if __name__ == "__main__":
    main()
