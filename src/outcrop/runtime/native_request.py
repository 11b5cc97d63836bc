"""What the headers of InvokeModel ask, and which of it is refused before any model is asked."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.conversation import check_service_tier
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    InvokeModelRequest,
    InvokeModelWithResponseStreamRequest,
)

JSON: Final = "application/json"

Request = InvokeModelRequest | InvokeModelWithResponseStreamRequest

# Streams are asked for as what they are, too.
_ACCEPTED = {JSON, "application/*", "*/*", "application/vnd.amazon.eventstream"}

_METADATA = msgspec.json.Decoder(dict[str, str])


def check(request: Request) -> None:
    """Raises ValidationException."""
    # Amazon's sentence (GH:aws/aws-sdk-ruby#3033); that of `accept` is made after it.
    if request.content_type and JSON not in _media_types(request.content_type):
        raise _invalid("Content Type")
    if request.accept and not _ACCEPTED.intersection(_media_types(request.accept)):
        raise _invalid("Accept Type")
    if request.guardrail_identifier or request.guardrail_version:
        raise ValidationException(
            "The guardrail identifier or version provided in the request does not exist."
        )
    if request.service_tier is not None:
        check_service_tier(request.service_tier)
    if request.request_metadata:
        _check_metadata(request.request_metadata)


def note(invocation: ModelInvocation, request: Request) -> None:
    """Before anything is refused: refusals are recorded, too."""
    invocation.model_id = request.model_id
    invocation.service_tier = request.service_tier
    if request.request_metadata:
        with suppress(msgspec.DecodeError):  # `check` refuses it
            invocation.request_metadata = _METADATA.decode(request.request_metadata)


def _media_types(header: str) -> Iterator[str]:
    """Without their parameters."""
    return (part.partition(";")[0].strip().lower() for part in header.split(","))


def _check_metadata(text: str) -> None:
    try:
        _METADATA.decode(text)
    except msgspec.DecodeError as error:
        raise ValidationException(
            "The request metadata is invalid. Provide a json object of strings and try again."
        ) from error


def _invalid(what: str) -> ValidationException:
    return ValidationException(f"The provided {what} is invalid or not supported for this model")
