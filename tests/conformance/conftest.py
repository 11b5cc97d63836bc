"""A running server, and the unmodified boto3 in front of it."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.outcrop_process import OutcropProcess, outcrop_process

CONFIG = """
[provisioned_throughput]
creating_s = 0.5
updating_s = 0.5

[[custom_models]]
custom_model_name = "support-tuned"
custom_model_id = "abcdefghij01"
base_model_id = "amazon.nova-lite-v1:0"

[[custom_models]]
custom_model_name = "support-tuned-2"
custom_model_id = "abcdefghij02"
base_model_id = "amazon.nova-lite-v1:0"
"""

Client = Callable[..., Any]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    with outcrop_process(tmp_path_factory.mktemp("outcrop"), config=CONFIG) as process:
        yield process


@pytest.fixture(scope="session")
def client(server: OutcropProcess) -> Client:
    """`client("bedrock", region="eu-west-1")`."""

    def make(service: str, region: str = "us-east-1", **settings: Any) -> Any:
        variables = server.environment()
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=server.url,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}, **settings),
        )

    return make


@pytest.fixture
def bedrock(client: Client) -> Any:
    return client("bedrock")
