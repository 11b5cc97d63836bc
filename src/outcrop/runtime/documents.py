"""Documents for servers that cannot read files: the text is taken out of them first."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import get_args

from msgspec.structs import replace

from outcrop.fleet.pool import Candidate, Kind
from outcrop.runtime.attachments import documents
from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.document_texts import NoTextError, text_of
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    DocumentBlock,
    DocumentFormat,
    DocumentSource,
    Message,
    ToolResultBlock,
    ToolResultContentBlock,
)

Formats = frozenset[str]

_EVERY: Formats = frozenset(get_args(DocumentFormat))

# What servers that read files read, by their dialect, where it is not everything.
_READ: Mapping[str, Formats] = {"anthropic": frozenset({"csv", "html", "md", "pdf", "txt"})}


def formats_read(kind: Kind | Candidate) -> Formats:
    """Those of files that may stay what they are."""
    if not kind.capabilities.documents:
        return frozenset()
    return _READ.get(kind.dialect, _EVERY)


def has_documents(asked: Asked) -> bool:
    """Whether there is anything that `with_texts` may replace."""
    if isinstance(asked, Prompt):
        return False
    for message in asked.messages or ():
        for block in message.content:
            if block.document is not None or block.tool_result is not None:
                return True
    return False


async def with_texts(asked: Asked, but_for: Formats = frozenset()) -> Asked:
    """The same question, every file in it but those of some formats replaced by its text.

    Raises ValidationException for a file that has none.
    """
    if isinstance(asked, Prompt):
        return asked
    messages = asked.messages or ()
    replaced = [one for message in messages for one in documents(message) if _is_file(one, but_for)]
    if not replaced:
        return asked
    return replace(asked, messages=await asyncio.to_thread(_as_texts, messages, but_for))


def _is_file(document: DocumentBlock, but_for: Formats) -> bool:
    return document.source.bytes is not None and document.format not in but_for


def _as_texts(messages: Sequence[Message], but_for: Formats) -> list[Message]:
    return [
        replace(message, content=[_block(block, but_for) for block in message.content])
        for message in messages
    ]


def _block(block: ContentBlock, but_for: Formats) -> ContentBlock:
    if block.document is not None:
        return replace(block, document=_document(block.document, but_for))
    if block.tool_result is not None:
        return replace(block, tool_result=_tool_result(block.tool_result, but_for))
    return block


def _tool_result(result: ToolResultBlock, but_for: Formats) -> ToolResultBlock:
    return replace(result, content=[_part(part, but_for) for part in result.content])


def _part(part: ToolResultContentBlock, but_for: Formats) -> ToolResultContentBlock:
    if part.document is None:
        return part
    return replace(part, document=_document(part.document, but_for))


def _document(document: DocumentBlock, but_for: Formats) -> DocumentBlock:
    if document.source.bytes is None or not _is_file(document, but_for):
        return document
    try:
        text = text_of(document.format or "txt", document.source.bytes)
    except NoTextError as error:
        raise ValidationException(f"The model returned the following errors: {error}.") from error
    return replace(document, source=DocumentSource(text=text))
