"""One exception per AWS error name, with its status and members.

AwsError
├── what the models of the services list (held to botocore by tests/wire/test_errors.py)
└── what every AWS service may answer besides: signatures, credentials, routing, serialization
"""

from typing import ClassVar


class AwsError(Exception):
    """An answer other than success. Raise it where you know it; `server/app.py` renders it."""

    status: ClassVar[int] = 400
    message_key: ClassVar[str] = "message"
    """Authorization failures spell it `Message`."""
    query_code: ClassVar[str] = ""
    """What the query protocol calls it, where that is not the class's name."""
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
    query_code = "AccessDenied"
    status = 403
    message_key = "Message"


class ConflictException(AwsError):
    status = 400


class InternalServerException(AwsError):
    query_code = "InternalFailure"
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
    query_code = "ServiceUnavailable"
    status = 503


class ThrottlingException(AwsError):
    query_code = "Throttling"
    status = 429


class TooManyTagsException(AwsError):
    status = 400
    member_names = ("resourceName",)


class ValidationException(AwsError):
    query_code = "ValidationError"
    status = 400


class InternalServiceFault(AwsError):
    status = 500
    query_code = "InternalServiceError"


class InvalidNextToken(AwsError):
    pass


class InvalidParameterCombinationException(AwsError):
    query_code = "InvalidParameterCombination"


class InvalidParameterValueException(AwsError):
    query_code = "InvalidParameterValue"


class MissingRequiredParameterException(AwsError):
    query_code = "MissingParameter"


class BillExpirationException(AwsError):
    pass


class BillingViewHealthStatusException(AwsError):
    pass


class DataUnavailableException(AwsError):
    pass


class InvalidNextTokenException(AwsError):
    pass


class LimitExceededException(AwsError):
    pass


class RequestChangedException(AwsError):
    pass


class ExpiredTokenException(AwsError):
    """Of an identity token that STS is given; `ExpiredCredentials` is what signed with one."""

    query_code = "ExpiredTokenException"
    status = 400


class ExpiredCredentials(AwsError):
    """What every service but STS's AssumeRoleWithWebIdentity means by ExpiredTokenException."""

    query_code = "ExpiredToken"
    status = 403

    @property
    def name(self) -> str:
        return "ExpiredTokenException"


class IDPCommunicationErrorException(AwsError):
    query_code = "IDPCommunicationError"


class IDPRejectedClaimException(AwsError):
    query_code = "IDPRejectedClaim"
    status = 403


class InvalidIdentityTokenException(AwsError):
    query_code = "InvalidIdentityToken"


class IncompleteSignatureException(AwsError):
    query_code = "IncompleteSignature"
    status = 400


class InvalidSignatureException(AwsError):
    query_code = "SignatureDoesNotMatch"
    status = 403


class MalformedHttpRequestException(AwsError):
    status = 400


class MalformedPolicyDocument(AwsError):
    """IAM's name for it, which has no `Exception` at its end."""

    status = 400


class MalformedPolicyDocumentException(MalformedPolicyDocument):
    """STS's name for it."""

    query_code = "MalformedPolicyDocument"


class PackedPolicyTooLargeException(AwsError):
    query_code = "PackedPolicyTooLarge"


class RegionDisabledException(AwsError):
    status = 403


class MissingAuthenticationTokenException(AwsError):
    status = 403
    query_code = "MissingAuthenticationToken"


class RequestEntityTooLargeException(AwsError):
    status = 413


class RequestHeaderFieldsTooLargeException(AwsError):
    status = 431


class RequestTimeoutException(AwsError):
    status = 408


class RequestUriTooLongException(AwsError):
    status = 414


class SerializationException(AwsError):
    query_code = "MalformedInput"
    status = 400


class UnknownOperationException(AwsError):
    """An operation of the model that is not served here; the message names it."""

    query_code = "InvalidAction"
    status = 501


class UnrecognizedClientException(AwsError):
    query_code = "InvalidClientTokenId"
    status = 403
