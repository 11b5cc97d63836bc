"""Documents for servers that cannot read files: the text is taken out of them first."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from outcrop.fleet.pool import Candidate, Kind
from outcrop.runtime.attachments import documents
from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.document_child import File, Found
from outcrop.runtime.document_reader import DocumentReader
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    DocumentBlock,
    DocumentFormat,
    DocumentSource,
    Message,
    ToolResultBlock,
    ToolResultContentBlock,
)


class Formats(Struct, frozen=True):
    """Those of files that may stay what they are."""

    in_messages: frozenset[str] = frozenset()
    in_results: frozenset[str] = frozenset()
    """Of tools."""


Readable = Mapping[Formats, Asked | ValidationException]
"""One question, by the formats that stay files; or why it cannot be put so."""

_EVERY = frozenset(get_args(DocumentFormat))
_ANTHROPICS = frozenset({"csv", "html", "md", "pdf", "txt"})

# What servers that read files read, by their dialect. Results of chat completions are text.
_READ: Mapping[str, Formats] = {
    "anthropic": Formats(_ANTHROPICS, _ANTHROPICS),
    "bedrock": Formats(_EVERY, _EVERY),
}
_OTHERS_READ = Formats(in_messages=_EVERY)


def formats_read(kind: Kind | Candidate) -> Formats:
    if not kind.capabilities.documents:
        return Formats()
    return _READ.get(kind.dialect, _OTHERS_READ)


def has_documents(asked: Asked) -> bool:
    """Whether there is anything that may have to be read."""
    if type(asked) is Prompt:
        return False
    for message in asked.messages or ():
        for block in message.content:
            if block.document is not None or block.tool_result is not None:
                return True
    return False


async def readable(asked: Asked, by: Collection[Formats], reader: DocumentReader) -> Readable:
    """Each file is read once at most, and only if somebody cannot read it."""
    if type(asked) is Prompt:
        return dict.fromkeys(by, asked)
    files = _files(asked.messages or (), by)
    if not files:
        return dict.fromkeys(by, asked)
    found = await reader.texts([_file(document) for document in files])
    texts = _Texts(dict(zip(map(id, files), found, strict=True)))
    return {formats: texts.question(asked, formats) for formats in by}


async def with_texts(asked: Asked, but_for: Formats, reader: DocumentReader) -> Asked:
    """Raises ValidationException for a file that has none."""
    question = (await readable(asked, (but_for,), reader))[but_for]
    if isinstance(question, ValidationException):
        raise question
    return question


def _files(messages: Iterable[Message], by: Collection[Formats]) -> Sequence[DocumentBlock]:
    found = [document for message in messages for document in documents(message)]
    if not found:
        return ()  # as in most conversations
    kept = frozenset[str].intersection(*(one.in_messages & one.in_results for one in by))
    return [document for document in found if _is_file(document, kept)]


def _is_file(document: DocumentBlock, but_for: Collection[str]) -> bool:
    return document.source.bytes is not None and document.format not in but_for


def _file(document: DocumentBlock) -> File:
    return File(document.format or "txt", document.source.bytes or b"")


class _Texts:
    """Puts what was found in the place of the files, known by their identity."""

    def __init__(self, found: Mapping[int, Found]) -> None:
        self._found = found

    def question(
        self, asked: ConverseRequest | ConverseStreamRequest, formats: Formats
    ) -> Asked | ValidationException:
        try:
            return replace(
                asked,
                messages=[self._message(message, formats) for message in asked.messages or ()],
            )
        except ValidationException as refusal:
            return refusal

    def _message(self, message: Message, formats: Formats) -> Message:
        return replace(message, content=[self._block(block, formats) for block in message.content])

    def _block(self, block: ContentBlock, formats: Formats) -> ContentBlock:
        if block.document is not None:
            return replace(block, document=self._document(block.document, formats.in_messages))
        if block.tool_result is not None:
            return replace(block, tool_result=self._result(block.tool_result, formats.in_results))
        return block

    def _result(self, result: ToolResultBlock, kept: frozenset[str]) -> ToolResultBlock:
        return replace(result, content=[self._part(part, kept) for part in result.content])

    def _part(self, part: ToolResultContentBlock, kept: frozenset[str]) -> ToolResultContentBlock:
        if part.document is None:
            return part
        return replace(part, document=self._document(part.document, kept))

    def _document(self, document: DocumentBlock, kept: frozenset[str]) -> DocumentBlock:
        if not _is_file(document, kept):
            return document
        found = self._found[id(document)]
        if found.no_text is not None:
            raise ValidationException(f"The model returned the following errors: {found.no_text}.")
        return replace(document, source=DocumentSource(text=found.text))
