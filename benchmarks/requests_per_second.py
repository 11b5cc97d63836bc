"""Requests per second of the two listings, over what bare Granian serves: the ratio must be ≥ 0.5.

Both servers run pinned to one core and the client to another, in turns, with the very same answers.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import boto3
import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.load import Load
from tests.outcrop_process import OutcropProcess, outcrop_process

ROUNDS = 5
SECONDS = 3.0
CONNECTIONS = 32
AT_LEAST = 0.5

SERVER_CORE, CLIENT_CORE = "0", "1"
PROFILES = "/inference-profiles?maxResults=10"
THROUGHPUTS = "/provisioned-model-throughputs?maxResults=10"
MODEL = "amazon.titan-text-express-v1:0:8k"


class Rates(msgspec.Struct, frozen=True):
    """Requests per second, one of each for every round."""

    bare: list[float]
    outcrop: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(
            ours / theirs for ours, theirs in zip(self.outcrop, self.bare, strict=True)
        )


def main() -> None:
    if (os.cpu_count() or 1) < 2:
        print("needs two cores: one for the server, one for the client")
        return
    with tempfile.TemporaryDirectory() as folder, _outcrop(Path(folder)) as server:
        _fill(server)
        print(f"{'':32}{'bare Granian':>14}{'Outcrop':>10}{'ratio':>8}")
        for path in (PROFILES, THROUGHPUTS):
            rates = _measure(server, path, Path(folder))
            print(
                f"{path.partition('?')[0]:32}{statistics.median(rates.bare):>14,.0f}"
                f"{statistics.median(rates.outcrop):>10,.0f}{rates.ratio:>8.2f}"
                f"{'' if rates.ratio >= AT_LEAST else f'  (wanted: {AT_LEAST})'}",
                flush=True,
            )


@contextmanager
def _outcrop(folder: Path) -> Generator[OutcropProcess]:
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "outcrop", "serve"]
    config = "[embedded]\nenabled = false\n"
    with outcrop_process(folder / "state", config=config, command=command) as server:
        yield server


def _fill(server: OutcropProcess) -> None:
    """Ten application profiles and ten provisioned models: full pages, from the store."""
    bedrock = boto3.client("bedrock", **_client_settings(server))
    source = bedrock.list_inference_profiles(maxResults=1)["inferenceProfileSummaries"][0]
    for number in range(10):
        bedrock.create_inference_profile(
            inferenceProfileName=f"benchmark {number}",
            modelSource={"copyFrom": source["inferenceProfileArn"]},
        )
        bedrock.create_provisioned_model_throughput(
            provisionedModelName=f"benchmark-{number}", modelId=MODEL, modelUnits=1
        )


def _client_settings(server: OutcropProcess) -> dict[str, str]:
    credentials = server.credentials
    return {
        "endpoint_url": server.url,
        "region_name": "us-east-1",
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
    }


def _measure(server: OutcropProcess, path: str, folder: Path) -> Rates:
    request = _signed(server, path)
    body = folder / "body"
    body.write_bytes(_body_of(server, request))
    with _bare_granian(body) as bare_port:
        rates = Rates([], [])
        for _ in range(ROUNDS):
            rates.bare.append(_load(bare_port, [request]))
            # A signature is good for five minutes, and a round of its own makes it a fresh one.
            rates.outcrop.append(_load(server.port, [_signed(server, path)]))
    return rates
