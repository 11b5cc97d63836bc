"""A boto3 client of a running server, with its root key or another."""

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

from tests.outcrop_process import OutcropProcess


def client_of(
    server: OutcropProcess,
    service: str,
    region: str = "us-east-1",
    *,
    key: Mapping[str, str | None] | None = None,
    ca_file: str | None = None,
    **settings: Any,
) -> Any:
    """One that knows nothing of this machine's settings and does not try again.

    `key`: boto3's arguments; None: the root key.
    """
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=server.url,
        verify=ca_file,
        config=Config(retries={"total_max_attempts": 1}, **settings),
        **(_root_key(server) if key is None else key),
    )


def _root_key(server: OutcropProcess) -> Mapping[str, str | None]:
    key = server.credentials
    return {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret_access_key,
    }
