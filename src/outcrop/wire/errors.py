"""One exception per AWS error name, with its status and members.

AwsError
├── what the models of bedrock and bedrock-runtime list (held to botocore by tests/wire/test_errors.py)
└── what every AWS service may answer besides: signatures, credentials, routing, serialization
"""

from typing import ClassVar


class AwsError(Exception):
    """An answer other than success. Raise it where you know it; `server/app.py` renders it."""

    status: ClassVar[int] = 400
    message_key: ClassVar[str] = "message"
    """Authorization failures spell it `Message` (docs: tests/wire/test_errors.py names the threads)."""

    def __init__(self, message: str, **members: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.members = members
        """Modelled members besides the message, by wire name (`originalStatusCode`, …)."""

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
    """Members: originalStatusCode, resourceName."""

    status = 424


class ModelNotReadyException(AwsError):
    status = 429


class ModelStreamErrorException(AwsError):
    """Members: originalStatusCode, originalMessage."""

    status = 424


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
    """Members: resourceName."""

    status = 400


class ValidationException(AwsError):
    status = 400


class ExpiredTokenException(AwsError):
    status = 403


class IncompleteSignatureException(AwsError):
    status = 400


class InvalidSignatureException(AwsError):
    status = 403


class MissingAuthenticationTokenException(AwsError):
    status = 403


class RequestEntityTooLargeException(AwsError):
    status = 413


class RequestTimeoutException(AwsError):
    status = 408


class SerializationException(AwsError):
    status = 400


class UnknownOperationException(AwsError):
    """An operation of the model that is not served here; the message names it."""

    status = 501


class UnrecognizedClientException(AwsError):
    status = 403
