"""A model server's failure as the error that Bedrock's users know."""

from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.runtime.dialects.dialect import Complaint
from outcrop.wire.errors import (
    AwsError,
    ModelErrorException,
    ModelNotReadyException,
    ModelStreamErrorException,
    ModelTimeoutException,
    ServiceUnavailableException,
    ThrottlingException,
    ValidationException,
)

# The server refuses this request, and would again: the caller is told why.
_CALLERS_FAULT = {400, 413, 422}
_TIMED_OUT = {408, 504}
_OVERLOADED = {503, 529}

# What passes by itself.
_PASSING = (ModelNotReadyException, ServiceUnavailableException, ThrottlingException)

# What a server may say when the stream has begun, and the stream has an exception for; everything
# else, and a server that breaks off without a word, is the model's error.
_IN_STREAM = (ServiceUnavailableException, ThrottlingException, ValidationException)


def of_silence(failure: ServerFailureError) -> AwsError:
    """For a server that said nothing, or stopped in the middle of its answer."""
    match failure.kind:
        case FailureKind.TIMED_OUT:
            return _timed_out()
        case FailureKind.NOT_READY:
            return ModelNotReadyException(
                "The model is not ready to serve inference requests. Wait and try your request"
                " again."
            )
        case FailureKind.BUSY:
            return ServiceUnavailableException(
                "Too many connections, please wait before trying again.",
                retry_after_s=failure.retry_after_s,
            )
        case _:
            return _unavailable()


def of_complaint(complaint: Complaint, model_id: str) -> AwsError:
    """For a server that said what is wrong."""
    if complaint.input_too_long:
        return ValidationException("Input is too long for requested model.")
    if complaint.status in _CALLERS_FAULT:
        return ValidationException(f"The model returned the following errors: {complaint.message}")
    if complaint.status == 429:
        return ThrottlingException("Too many requests, please wait before trying again.")
    if complaint.status in _TIMED_OUT:
        return _timed_out()
    if complaint.status in _OVERLOADED:
        return _unavailable()
    # The text is for the operator's log: it may tell about the server what callers need not know.
    return ModelErrorException(
        "The request failed due to an error while processing the model.",
        originalStatusCode=complaint.status,
        resourceName=model_id,
    )


def told_when(error: AwsError, failure: ServerFailureError) -> AwsError:
    """With the server's own word on when the same request may succeed."""
    if isinstance(error, _PASSING) and error.retry_after_s is None:
        error.retry_after_s = failure.retry_after_s
    return error


def in_stream(error: AwsError, *, told: bool) -> AwsError:
    """The same failure when events have gone out already; `told` by the server, or just seen."""
    if told and isinstance(error, _IN_STREAM):
        return error
    status = error.members.get("originalStatusCode", error.status)
    return ModelStreamErrorException(
        "An error occurred while streaming the response. Retry your request.",
        originalStatusCode=status,
        originalMessage=error.message,
    )


def untold(error: AwsError, model_id: str) -> AwsError:
    """The same failure of an answer in one piece: only streams have an exception of their own."""
    if not isinstance(error, ModelStreamErrorException):
        return error
    status = error.members.get("originalStatusCode")
    message = str(error.members.get("originalMessage") or error.message)
    return of_complaint(Complaint(status if isinstance(status, int) else 500, message), model_id)


def _timed_out() -> ModelTimeoutException:
    return ModelTimeoutException(
        "Model has timed out in processing the request. Try your request again."
    )


def _unavailable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
