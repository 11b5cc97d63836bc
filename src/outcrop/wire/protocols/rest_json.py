"""Refusals of restJson1: the name in a header, the message in a JSON document."""

from msgspec import json

from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpResponse
from outcrop.wire.protocols.refusal import refusal_headers

# What Amazon appends to the name; clients cut at the colon.
ERROR_TYPE_SUFFIX = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


class RestJson:
    def refusal(self, error: AwsError, request_id: str) -> HttpResponse:
        headers = refusal_headers(error, request_id, "application/json")
        headers["x-amzn-ErrorType"] = error.name + ERROR_TYPE_SUFFIX
        body = json.encode({error.message_key: error.message, **error.members})
        return HttpResponse(status=error.status, headers=headers, body=body)
