"""Names of documents as Amazon takes them: letters, digits and a few signs, and each name once.

Converse's callers are held to that before; those of native bodies title documents as they like.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

from msgspec.structs import replace

from outcrop.runtime.attachments import DOCUMENT_NAME, documents
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    DocumentBlock,
    Message,
    ToolResultBlock,
    ToolResultContentBlock,
)

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9\-()\[\]]+")
_LONGEST = 200
# Of a native body's title, which may be of any length.
_LOOKED_AT = 1_000


def with_names(messages: Sequence[Message]) -> Sequence[Message]:
    """The same, if all names are such already."""
    given = [document.name for message in messages for document in documents(message)]
    if len(set(given)) == len(given) and all(map(_is_name, given)):
        return messages
    names = _names(given)
    return [
        replace(message, content=[_block(block, names) for block in message.content])
        for message in messages
    ]


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST and DOCUMENT_NAME.fullmatch(name) is not None


def _names(given: Sequence[str]) -> Iterator[str]:
    taken: set[str] = set()
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for name in given:
        fitted = _NOT_IN_A_NAME.sub(" ", name[:_LOOKED_AT]).strip() or "document"
        numbered = fitted[: _LONGEST - 10].rstrip()
        chosen = fitted[:_LONGEST].rstrip()
        while chosen in taken:
            chosen = f"{numbered} ({next(numbers[numbered])})"
        taken.add(chosen)
        yield chosen


def _block(block: ContentBlock, names: Iterator[str]) -> ContentBlock:
    if block.document is not None:
        return replace(block, document=_named(block.document, names))
    if block.tool_result is not None:
        return replace(block, tool_result=_result(block.tool_result, names))
    return block


def _result(result: ToolResultBlock, names: Iterator[str]) -> ToolResultBlock:
    return replace(result, content=[_part(part, names) for part in result.content])


def _part(part: ToolResultContentBlock, names: Iterator[str]) -> ToolResultContentBlock:
    if part.document is None:
        return part
    return replace(part, document=_named(part.document, names))


def _named(document: DocumentBlock, names: Iterator[str]) -> DocumentBlock:
    return replace(document, name=next(names))
