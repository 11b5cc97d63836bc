"""One exception per AWS error name, with its status and members.

AwsError
├── what the models of both services list (held to botocore by tests/wire/test_errors.py)
└── what every AWS service may answer besides: signatures, credentials, routing, serialization
"""

from typing import ClassVar


class AwsError(Exception):
    """An answer other than success. Raise it where you know it; `server/app.py` renders it."""

    status: ClassVar[int] = 400
    message_key: ClassVar[str] = "message"
    """Authorization failures spell it `Message`."""
    member_names: ClassVar[tuple[str, ...]] = ()
    """What the model adds to the message."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, **members: str | int
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        """When the same request may succeed; the answer says it in `Retry-After`."""
        self.members = members
        """By wire name, from `member_names`."""

    @property
    def name(self) -> str:
        return type(self).__name__


class AccessDeniedException(AwsError):
    status = 403
    message_key = "Message"


class ConflictException(AwsError):
    status = 400


class InternalServerException(AwsError):
    status = 500


class ModelErrorException(AwsError):
    status = 424
    member_names = ("originalStatusCode", "resourceName")


class ModelNotReadyException(AwsError):
    status = 429


class ModelStreamErrorException(AwsError):
    status = 424
    member_names = ("originalStatusCode", "originalMessage")


class ModelTimeoutException(AwsError):
    status = 408


class ResourceInUseException(AwsError):
    status = 400


class ResourceNotFoundException(AwsError):
    status = 404


class ServiceQuotaExceededException(AwsError):
    status = 400


class ServiceUnavailableException(AwsError):
    status = 503


class ThrottlingException(AwsError):
    status = 429


class TooManyTagsException(AwsError):
    status = 400
    member_names = ("resourceName",)


class ValidationException(AwsError):
    status = 400


class ExpiredTokenException(AwsError):
    status = 403


class IncompleteSignatureException(AwsError):
    status = 400


class InvalidSignatureException(AwsError):
    status = 403


class MalformedHttpRequestException(AwsError):
    status = 400


class MalformedPolicyDocument(AwsError):
    """IAM's name for it, which has no `Exception` at its end."""

    status = 400


class RequestEntityTooLargeException(AwsError):
    status = 413


class RequestHeaderFieldsTooLargeException(AwsError):
    status = 431


class RequestTimeoutException(AwsError):
    status = 408


class RequestUriTooLongException(AwsError):
    status = 414


class SerializationException(AwsError):
    status = 400


class UnknownOperationException(AwsError):
    """An operation of the model that is not served here; the message names it."""

    status = 501


class UnrecognizedClientException(AwsError):
    status = 403
