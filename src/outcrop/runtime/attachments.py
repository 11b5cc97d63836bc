"""How many images and documents a conversation may hold, how large, and where, as on Amazon."""

import re
from collections.abc import Iterator, Sequence

from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    Message,
    SearchResultBlock,
)

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
_IMAGES = 20
_IMAGE_BYTES = int(3.75 * 1024 * 1024)
_DOCUMENTS = 5
_DOCUMENT_BYTES = int(4.5 * 1024 * 1024)

DOCUMENT_NAME = re.compile(r"(?:[A-Za-z0-9()\[\]-]|\s(?!\s))+")


def check_attachments(messages: Sequence[Message]) -> None:
    """Raises ValidationException."""
    for index, message in enumerate(messages):
        _check_place(message, f"messages.{index}")
    _check_images([image for message in messages for image in images(message)])
    _check_documents([document for message in messages for document in documents(message)])


def images(message: Message) -> Iterator[ImageBlock]:
    """Those in tool results too."""
    for block in message.content:
        if block.image is not None:
            yield block.image
        if block.tool_result is not None:
            yield from (part.image for part in block.tool_result.content if part.image is not None)


def documents(message: Message) -> Iterator[DocumentBlock]:
    """Those in tool results too."""
    for block in message.content:
        if block.document is not None:
            yield block.document
        if block.tool_result is not None:
            parts = block.tool_result.content
            yield from (part.document for part in parts if part.document is not None)


def search_results(message: Message) -> Iterator[SearchResultBlock]:
    """Those in tool results too."""
    for block in message.content:
        if block.search_result is not None:
            yield block.search_result
        if block.tool_result is not None:
            parts = block.tool_result.content
            yield from (part.search_result for part in parts if part.search_result is not None)


def _check_place(message: Message, path: str) -> None:
    for name in ("image", "document"):
        if message.role != "user" and any(getattr(block, name) for block in message.content):
            raise ValidationException(
                f"This model doesn't support the {name} field for {message.role} messages. Remove"
                f" {name} and try again."
            )
    if any(block.document for block in message.content) and not any(map(_says, message.content)):
        # Decision: the rule is Amazon's, its text is not known.
        raise ValidationException(
            f"The content field in the Message object at {path} includes a document and no text."
            " Add a ContentBlock object with a text field and try again."
        )


def _says(block: ContentBlock) -> bool:
    return block.text is not None or block.tool_result is not None


def _check_images(found: Sequence[ImageBlock]) -> None:
    if len(found) > _IMAGES:
        raise ValidationException(f"You can't include more than {_IMAGES} images in a request.")
    for image in found:
        if image.source.bytes is not None and len(image.source.bytes) > _IMAGE_BYTES:
            raise ValidationException("The provided image exceeds the maximum image size.")


def _check_documents(found: Sequence[DocumentBlock]) -> None:
    # github.com/aws-samples/generative-ai-use-cases/issues/1685
    if len(found) > _DOCUMENTS:
        raise ValidationException(
            f"You can't include more than {_DOCUMENTS} documents in a request."
        )
    if len({document.name for document in found}) < len(found):
        raise ValidationException("Messages can't contain duplicate document names.")
    for document in found:
        _check_document(document)


def _check_document(document: DocumentBlock) -> None:
    if not DOCUMENT_NAME.fullmatch(document.name):
        raise ValidationException(
            "The document file name can only contain alphanumeric characters, whitespace"
            " characters, hyphens, parentheses, and square brackets. The name can't contain more"
            " than one consecutive whitespace character."
        )
    if document.source.bytes is not None and len(document.source.bytes) > _DOCUMENT_BYTES:
        raise ValidationException("The provided document exceeds the maximum document size.")
