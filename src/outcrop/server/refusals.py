"""How a refusal looks on the wire: Amazon's headers, and a JSON document with its message."""

from math import ceil
from random import Random

import msgspec

from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpResponse

# What Amazon appends to the name; clients cut at the colon.
ERROR_TYPE_SUFFIX = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


_RANDOM = Random()  # noqa: S311 - they must differ from each other, not be secret


def new_request_id() -> str:
    """A random UUID (version 4), at a fifth of the time that Python's own takes."""
    digits = f"{_RANDOM.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def error_response(error: AwsError, request_id: str) -> HttpResponse:
    headers = {
        "content-type": "application/json",
        "x-amzn-RequestId": request_id,
        "x-amzn-ErrorType": error.name + ERROR_TYPE_SUFFIX,
    }
    if error.retry_after_s is not None:
        # Whole seconds (RFC 9110); who comes back a moment too early would be refused again.
        headers["retry-after"] = str(ceil(error.retry_after_s))
    return HttpResponse(
        status=error.status,
        headers=headers,
        body=msgspec.json.encode({error.message_key: error.message, **error.members}),
    )
