"""Blocks that every model can read as text, as text."""

from collections.abc import Iterable

import msgspec

from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    CitationsContentBlock,
    DocumentBlock,
    SearchResultBlock,
    ToolResultContentBlock,
    ToolUseBlock,
)


def document_text(document: DocumentBlock) -> str:
    """Raises ValidationException for a document whose text nobody has taken out yet."""
    source = document.source
    text = source.text
    if source.content is not None:
        text = "\n\n".join(part.text or "" for part in source.content)
    if text is None:
        raise ValidationException("This model doesn't support documents.")
    context = f"{document.context}\n" if document.context else ""
    return f'<document name="{document.name}">\n{context}{text}\n</document>'


def search_result_text(result: SearchResultBlock) -> str:
    lines = [result.title, result.source, *(part.text for part in result.content)]
    return "<search_result>\n" + "\n".join(lines) + "\n</search_result>"


def citations_text(cited: CitationsContentBlock) -> str:
    return "".join(part.text or "" for part in cited.content or ())


def tool_use_text(use: ToolUseBlock) -> str:
    return f"Call of the tool {use.name}: {msgspec.json.encode(use.input).decode()}"


def tool_result_text(parts: Iterable[ToolResultContentBlock], *, failed: bool) -> str:
    """Without its images."""
    texts = [_part_text(part) for part in parts if part.image is None]
    return ("Error: " if failed else "") + "\n".join(texts)


def _part_text(part: ToolResultContentBlock) -> str:
    if part.json:
        return bytes(part.json).decode()
    if part.document is not None:
        return document_text(part.document)
    if part.search_result is not None:
        return search_result_text(part.search_result)
    return part.text or ""
