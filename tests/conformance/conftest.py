"""A running server, and the unmodified boto3 in front of it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.boto3_client import client_of
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
    return partial(client_of, server)


@pytest.fixture
def bedrock(client: Client) -> Any:
    return client("bedrock")
