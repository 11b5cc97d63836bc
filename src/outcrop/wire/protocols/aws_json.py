"""awsJson1_0 and awsJson1_1: JSON both ways, the operation in `X-Amz-Target`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import DecodeError, inspect, json

from outcrop.wire import leaves
from outcrop.wire.errors import AwsError, SerializationException
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.protocols.refusal import query_error, refusal_headers
from outcrop.wire.rpc import Members, Output, RpcService

_LEAVES: leaves.Leaves = {inspect.DateTimeType: leaves.moment}


class AwsJson:
    def __init__(self, service: RpcService) -> None:
        self._content_type = f"application/x-amz-json-{service.json_version}"
        self._query_compatible = service.query_compatible

    def members(self, request: HttpRequest, input_type: inspect.Type) -> Members:
        try:
            body = json.decode(request.body or b"{}", type=dict[str, Any])
        except (DecodeError, UnicodeDecodeError, RecursionError):
            text = "The request body could not be parsed as a JSON object."
            raise SerializationException(text) from None
        members: Mapping[str, Any] = leaves.read(input_type, body, _LEAVES)
        return members

    def answer(self, operation: str, output: Output, request_id: str) -> HttpResponse:
        del operation, request_id
        return HttpResponse(
            status=200,
            headers={"content-type": self._content_type},
            body=json.encode(leaves.written(output.members, _seconds)),
        )

    def refusal(self, error: AwsError, request_id: str) -> HttpResponse:
        headers = refusal_headers(error, request_id, self._content_type)
        if self._query_compatible:
            headers["x-amzn-query-error"] = query_error(error)
        body = json.encode({"__type": error.name, "message": error.message, **error.members})
        return HttpResponse(status=error.status, headers=headers, body=body)


def _seconds(moment: datetime) -> float:
    seconds = moment.timestamp()
    return int(seconds) if seconds.is_integer() else seconds
