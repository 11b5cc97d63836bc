"""How a refusal looks on the wire: Amazon's headers, and a JSON document with its message."""

from uuid import uuid4

import msgspec

from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpResponse

# What Amazon appends to the name; clients cut at the colon.
ERROR_TYPE_SUFFIX = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


def new_request_id() -> str:
    return str(uuid4())


def error_response(error: AwsError, request_id: str) -> HttpResponse:
    return HttpResponse(
        status=error.status,
        headers={
            "content-type": "application/json",
            "x-amzn-RequestId": request_id,
            "x-amzn-ErrorType": error.name + ERROR_TYPE_SUFFIX,
        },
        body=msgspec.json.encode({error.message_key: error.message, **error.members}),
    )
