"""The turns of Anthropic's Messages body as Converse's messages."""

from collections.abc import Iterator, Sequence
from typing import cast

import msgspec
from msgspec import Raw

from outcrop.runtime.families import anthropic_body as native
from outcrop.runtime.families.schema import json_object
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    CachePointBlock,
    CitationsConfig,
    ContentBlock,
    DocumentBlock,
    DocumentContentBlock,
    DocumentSource,
    ImageBlock,
    ImageFormat,
    ImageSource,
    Message,
    ReasoningContentBlock,
    ReasoningTextBlock,
    SearchResultBlock,
    SearchResultContentBlock,
    ToolResultBlock,
    ToolResultContentBlock,
    ToolUseBlock,
    ToolUseType,
)

_UNNAMED_DOCUMENT = "document"


def messages(asked: native.Body) -> list[Message]:
    """Turns of one role in a row are one message, as Anthropic takes them."""
    if asked.messages[0].role != "user":
        raise ValidationException('messages: first message must use the "user" role')
    messages: list[Message] = []
    for index, turn in enumerate(asked.messages):
        if not turn.content and _is_final_answer(asked.messages, index):
            break
        content = list(_content(turn, index))
        if messages and messages[-1].role == turn.role:
            messages[-1].content.extend(content)
        else:
            messages.append(Message(role=turn.role, content=content))
    if asked.cache_control is not None:
        messages[-1].content.append(_cache_point(asked.cache_control))
    return messages


def _is_final_answer(turns: Sequence[native.Turn], index: int) -> bool:
    return turns[index].role == "assistant" and index == len(turns) - 1


def _content(turn: native.Turn, index: int) -> Iterator[ContentBlock]:
    if not turn.content:
        raise ValidationException(
            f"messages.{index}: all messages must have non-empty content except for the optional"
            " final assistant message"
        )
    if isinstance(turn.content, str):
        yield _text(turn.content)
        return
    for at, block in enumerate(turn.content):
        yield _block(block, ("messages", index, "content", at))
        if not isinstance(block, native.Thinking | native.RedactedThinking) and block.cache_control:
            yield _cache_point(block.cache_control)


def _block(block: native.Block, path: tuple[str | int, ...]) -> ContentBlock:
    match block:
        case native.TextBlock():
            written = _text(block.text)
        case native.Image():
            written = ContentBlock(image=_image(block))
        case native.Document():
            written = ContentBlock(document=_document(block))
        case native.SearchResult():
            written = ContentBlock(search_result=_search_result(block))
        case native.ToolUse() | native.ServerToolUse():
            written = ContentBlock(tool_use=_tool_use(block, path))
        case native.ToolSearchResult():
            written = ContentBlock(tool_result=_tool_search_result(block, path))
        case native.ToolResult():
            written = ContentBlock(tool_result=_tool_result(block))
        case _:
            written = ContentBlock(reasoning_content=_reasoning(block))
    return written


def _text(text: str) -> ContentBlock:
    if not text:
        raise ValidationException("messages: text content blocks must be non-empty")
    if not text.strip():
        raise ValidationException("messages: text content blocks must contain non-whitespace text")
    return ContentBlock(text=text)


def _image(block: native.Image) -> ImageBlock:
    format_ = cast("ImageFormat", block.source.media_type.removeprefix("image/"))
    return ImageBlock(format=format_, source=ImageSource(bytes=block.source.data))


def _document(block: native.Document) -> DocumentBlock:
    return DocumentBlock(
        format="pdf" if isinstance(block.source, native.Base64Pdf) else "txt",
        name=block.title or _UNNAMED_DOCUMENT,
        source=_document_source(block.source),
        context=block.context,
        citations=_citations(block.citations),
    )


def _document_source(
    source: native.Base64Pdf | native.PlainText | native.Content,
) -> DocumentSource:
    if isinstance(source, native.Base64Pdf):
        return DocumentSource(bytes=source.data)
    if isinstance(source, native.PlainText):
        return DocumentSource(text=source.data)
    if isinstance(source.content, str):
        return DocumentSource(text=source.content)
    return DocumentSource(content=[DocumentContentBlock(text=part.text) for part in source.content])


def _citations(citations: native.Citations | None) -> CitationsConfig | None:
    return None if citations is None else CitationsConfig(enabled=citations.enabled)


def _search_result(block: native.SearchResult) -> SearchResultBlock:
    return SearchResultBlock(
        source=block.source,
        title=block.title,
        content=[SearchResultContentBlock(text=part.text) for part in block.content],
        citations=_citations(block.citations),
    )


def _tool_use(
    block: native.ToolUse | native.ServerToolUse, path: tuple[str | int, ...]
) -> ToolUseBlock:
    given = json_object(block.input, *path, "input")
    kind: ToolUseType | None = None if isinstance(block, native.ToolUse) else "server_tool_use"
    return ToolUseBlock(tool_use_id=block.id, name=block.name, input=given, type=kind)


def _tool_search_result(
    block: native.ToolSearchResult, path: tuple[str | int, ...]
) -> ToolResultBlock:
    found = ToolResultContentBlock(json=json_object(block.content, *path, "content"))
    return ToolResultBlock(
        tool_use_id=block.tool_use_id, content=[found], type="tool_search_tool_result"
    )


def _tool_result(block: native.ToolResult) -> ToolResultBlock:
    content = block.content or ()
    parts = [native.TextBlock(text=content)] if isinstance(content, str) else content
    return ToolResultBlock(
        tool_use_id=block.tool_use_id,
        content=[_result_part(part) for part in parts],
        status="error" if block.is_error else None,
    )


def _result_part(part: native.ResultPart) -> ToolResultContentBlock:
    match part:
        case native.TextBlock():
            return ToolResultContentBlock(text=part.text)
        case native.Image():
            return ToolResultContentBlock(image=_image(part))
        case native.Document():
            return ToolResultContentBlock(document=_document(part))
        case native.SearchResult():
            return ToolResultContentBlock(search_result=_search_result(part))
        case native.ToolReference():
            return ToolResultContentBlock(json=Raw(msgspec.json.encode(part)))


def _reasoning(block: native.Thinking | native.RedactedThinking) -> ReasoningContentBlock:
    if isinstance(block, native.RedactedThinking):
        return ReasoningContentBlock(redacted_content=block.data.encode())
    text = ReasoningTextBlock(text=block.thinking, signature=block.signature)
    return ReasoningContentBlock(reasoning_text=text)


def _cache_point(control: native.CacheControl) -> ContentBlock:
    return ContentBlock(cache_point=cache_point(control))


def cache_point(control: native.CacheControl) -> CachePointBlock:
    return CachePointBlock(type="default", ttl=control.ttl)
