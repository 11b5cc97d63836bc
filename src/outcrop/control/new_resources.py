"""What all new resources have in common: ids, tags, and how a repeated request is known."""

import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence

import msgspec

from outcrop.store.records import ClientToken
from outcrop.wire.errors import TooManyTagsException, ValidationException
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    CreateProvisionedModelThroughputRequest,
    Tag,
)

TAGS_PER_RESOURCE = 50

# The shape documentation of TooManyTagsException.
TOO_MANY_TAGS = (
    "The request contains more tags than can be associated with a resource (50 tags per "
    "resource). The maximum number of tags includes both existing tags and those included in "
    "your current request."
)
REQUEST_MISMATCH = (
    "The provided clientRequestToken was already used by a request with different parameters."
)

_ID_LETTERS = string.ascii_lowercase + string.digits


def resource_id() -> str:
    """Twelve random characters of `[a-z0-9]`, as Bedrock names what its users create."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(12))


def client_token(
    operation: str,
    request: CreateInferenceProfileRequest | CreateProvisionedModelThroughputRequest,
) -> ClientToken | None:
    """The request's idempotency token, with a fingerprint of everything else it says."""
    if request.client_request_token is None:
        return None
    parameters = msgspec.structs.replace(request, client_request_token=None)
    return ClientToken(
        operation=operation,
        token=request.client_request_token,
        fingerprint=hashlib.sha256(msgspec.json.encode(parameters)).hexdigest(),
    )


def tags_by_key(tags: Sequence[Tag] | None, resource_arn: str) -> Mapping[str, str]:
    """Raises ValidationException for keys Amazon refuses, TooManyTagsException above 50."""
    by_key = {tag.key: tag.value for tag in tags or ()}
    if len(by_key) != len(tags or ()):
        raise ValidationException("Duplicate tag keys found in the request.")
    if any(key.lower().startswith("aws:") for key in by_key):
        raise ValidationException("aws: prefixed tag key names are not allowed for external use.")
    if len(by_key) > TAGS_PER_RESOURCE:
        raise too_many_tags(resource_arn)
    return by_key


def too_many_tags(resource_arn: str) -> TooManyTagsException:
    return TooManyTagsException(TOO_MANY_TAGS, resourceName=resource_arn)
