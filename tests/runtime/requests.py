"""Requests as callers write them: JSON in, what the wire makes of it out."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

from outcrop.iam.caller import Caller
from outcrop.metering.invocation import ModelInvocation
from outcrop.wire.http import HttpRequest
from outcrop.wire.shapes.bedrock_runtime import (
    CONVERSE,
    CONVERSE_STREAM,
    ConverseRequest,
    ConverseStreamRequest,
)

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")

ACCOUNT = "111122223333"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "hello"}]}]


def caller(region: str = "us-east-1", partition: str = "aws") -> Caller:
    arn = f"arn:{partition}:iam::{ACCOUNT}:root"
    return Caller(account_id=ACCOUNT, arn=arn, user_id=ACCOUNT, region=region, partition=partition)


def invocation(region: str = "us-east-1", partition: str = "aws") -> ModelInvocation:
    return ModelInvocation(
        request_id="5f1d6a3e-0000-4000-a000-000000000000",
        operation="Converse",
        caller=caller(region, partition),
        began_at=datetime(2026, 1, 1, tzinfo=UTC),
        headers={},
    )


class Answered(NamedTuple, Generic[OutputT]):
    output: OutputT
    served_by: str | None


async def answered(
    handler: Callable[[ModelInvocation, InputT], Awaitable[OutputT]], request: InputT
) -> Answered[OutputT]:
    """What the handler answers, and who is said to have."""
    made = invocation()
    return Answered(await handler(made, request), made.served_by)


def converse_request(model_id: str = "amazon.nova-lite-v1:0", **body: Any) -> ConverseRequest:
    return CONVERSE.decode(_http({"messages": HELLO, **body}), {"modelId": model_id})


def stream_request(model_id: str = "amazon.nova-lite-v1:0", **body: Any) -> ConverseStreamRequest:
    return CONVERSE_STREAM.decode(_http({"messages": HELLO, **body}), {"modelId": model_id})


def _http(body: dict[str, Any]) -> HttpRequest:
    headers = {"content-type": "application/json"}
    return HttpRequest(method="POST", raw_path="/", headers=headers, body=json.dumps(body).encode())
