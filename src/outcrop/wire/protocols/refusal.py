"""What the refusals of all protocols have in common."""

from math import ceil

from outcrop.wire.errors import AwsError


def refusal_headers(error: AwsError, request_id: str, content_type: str) -> dict[str, str]:
    headers = {"content-type": content_type, "x-amzn-RequestId": request_id}
    if error.retry_after_s is not None:
        # Whole seconds (RFC 9110); who comes back a moment too early would be refused again.
        headers["retry-after"] = str(ceil(error.retry_after_s))
    return headers


def query_error(error: AwsError) -> str:
    """The value of `x-amzn-query-error`: the name that the query protocol has, and whose fault."""
    return f"{error.query_code or error.name};{fault(error)}"


def fault(error: AwsError) -> str:
    return "Receiver" if error.status >= 500 else "Sender"
