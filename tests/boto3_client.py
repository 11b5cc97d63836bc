"""A boto3 client of a running server, with its root key."""

from typing import Any

import boto3
from botocore.config import Config

from tests.outcrop_process import OutcropProcess


def client_of(server: OutcropProcess, service: str) -> Any:
    """One that knows nothing of this machine's settings and does not try again."""
    key = server.credentials
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}),
    )
