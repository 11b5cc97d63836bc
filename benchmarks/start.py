"""From `outcrop serve` to the first signed answer, and what its processes then hold in memory."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import boto3

from tests.outcrop_process import outcrop_process

ROUNDS = 5
LIMIT_S = 1.5
LIMIT_MB = 150


def main() -> None:
    seconds, megabytes = zip(*[measured() for _ in range(ROUNDS)], strict=True)
    print(f"start to first signed answer: {median(seconds):.2f} s (limit {LIMIT_S} s)")
    print(f"resident in all, the model aside: {median(megabytes):.0f} MB (limit {LIMIT_MB} MB)")


def measured() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with outcrop_process(Path(folder)) as process:
            key = process.credentials
            client = boto3.client(
                "bedrock",
                region_name="us-east-1",
                endpoint_url=process.url,
                aws_access_key_id=key.access_key_id,
                aws_secret_access_key=key.secret_access_key,
            )
            client.list_inference_profiles(maxResults=10)
            seconds = time.perf_counter() - began
            client.list_provisioned_model_throughputs()
            return seconds, sum(resident_mb(pid) for pid in family(process.process.pid))


def family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def resident_mb(pid: int) -> float:
    """Proportional set size: pages that processes share are counted once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
