"""Requests as callers write them: JSON in, what the wire makes of it out."""

import json
from typing import Any

from outcrop.iam.caller import Caller
from outcrop.wire.http import HttpRequest
from outcrop.wire.shapes.bedrock_runtime import (
    CONVERSE,
    CONVERSE_STREAM,
    ConverseRequest,
    ConverseStreamRequest,
)

ACCOUNT = "111122223333"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "hello"}]}]


def caller(region: str = "us-east-1", partition: str = "aws") -> Caller:
    arn = f"arn:{partition}:iam::{ACCOUNT}:root"
    return Caller(account_id=ACCOUNT, arn=arn, user_id=ACCOUNT, region=region, partition=partition)


def converse_request(model_id: str = "amazon.nova-lite-v1:0", **body: Any) -> ConverseRequest:
    return CONVERSE.decode(_http({"messages": HELLO, **body}), {"modelId": model_id})


def stream_request(model_id: str = "amazon.nova-lite-v1:0", **body: Any) -> ConverseStreamRequest:
    return CONVERSE_STREAM.decode(_http({"messages": HELLO, **body}), {"modelId": model_id})


def _http(body: dict[str, Any]) -> HttpRequest:
    headers = {"content-type": "application/json"}
    return HttpRequest(method="POST", raw_path="/", headers=headers, body=json.dumps(body).encode())
