"""A Converse conversation as the messages of OpenAI's chat completions."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from outcrop.runtime.dialects.dialect import Capabilities
from outcrop.runtime.dialects.plain_text import (
    citations_text,
    document_text,
    search_result_text,
    tool_result_text,
    tool_use_text,
)
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    DocumentBlock,
    GuardrailConverseContentBlock,
    ImageBlock,
    Message,
    SystemContentBlock,
    ToolResultBlock,
    ToolUseBlock,
)

Part = dict[str, Any]

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "txt": "text/plain",
    "md": "text/markdown",
}


def openai_messages(
    system: Sequence[SystemContentBlock], messages: Sequence[Message], capabilities: Capabilities
) -> list[dict[str, Any]]:
    made = list(system_message(system)) if system else []
    for message in messages:
        if message.role == "assistant":
            made.append(_assistant_message(message, capabilities))
        elif len(message.content) == 1 and message.content[0].text is not None:
            # As most messages are.
            made.append({"role": "user", "content": message.content[0].text})
        else:
            made += _user_messages(message)
    return made


def system_message(blocks: Iterable[SystemContentBlock]) -> Iterator[dict[str, Any]]:
    """One message: many chat templates know no second."""
    texts = [text for block in blocks for text in _system_texts(block)]
    if texts:
        yield {"role": "system", "content": "\n".join(texts)}


def _system_texts(block: SystemContentBlock) -> Iterator[str]:
    if block.text is not None:
        yield block.text
    elif block.guard_content is not None and block.guard_content.text is not None:
        yield block.guard_content.text.text


def _assistant_message(message: Message, capabilities: Capabilities) -> dict[str, Any]:
    content = _content([part for block in message.content for part in _said(block)])
    uses = [block.tool_use for block in message.content if block.tool_use is not None]
    calls = [_tool_call(use) for use in uses if not _is_servers_own(use)]
    made: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        made["tool_calls"] = calls
    reasoning = "".join(_reasoning_texts(message.content))
    if reasoning and capabilities.reasoning:
        made["reasoning_content"] = reasoning
    return made


def _said(block: ContentBlock) -> Iterator[Part]:
    """What a vendor's own tools were asked and found in one turn: no call for anyone to answer."""
    if block.tool_use is not None and _is_servers_own(block.tool_use):
        yield _text(tool_use_text(block.tool_use))
    elif block.tool_result is not None:
        failed = block.tool_result.status == "error"
        yield _text(tool_result_text(block.tool_result.content, failed=failed))
    else:
        yield from _parts(block)


def _is_servers_own(use: ToolUseBlock) -> bool:
    return use.type == "server_tool_use"


def _user_messages(message: Message) -> Iterator[dict[str, Any]]:
    """Results stand alone and first, right behind the calls; the rest is one message."""
    results = [block.tool_result for block in message.content if block.tool_result is not None]
    for result in results:
        yield {
            "role": "tool",
            "tool_call_id": result.tool_use_id,
            "content": tool_result_text(result.content, failed=result.status == "error"),
        }
    parts = [part for result in results for part in _images_of(result)]
    parts += [part for block in message.content for part in _parts(block)]
    if parts:
        yield {"role": "user", "content": _content(parts)}


def _content(parts: Sequence[Part]) -> str | Sequence[Part]:
    """A string where that is enough: some servers know nothing else."""
    if not parts:
        return ""
    only_text = len(parts) == 1 and parts[0]["type"] == "text"
    return parts[0]["text"] if only_text else parts


def _parts(block: ContentBlock) -> Iterator[Part]:
    text = block.text
    if block.image is not None:
        yield _image(block.image)
    elif block.document is not None:
        yield _document(block.document)
    elif block.guard_content is not None:
        yield from _guarded(block.guard_content)
    elif block.citations_content is not None:
        text = citations_text(block.citations_content)
    elif block.search_result is not None:
        text = search_result_text(block.search_result)
    if text is not None:
        yield _text(text)


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _image(image: ImageBlock) -> Part:
    assert image.source.bytes is not None, "those in S3 are refused before"
    return _image_url(image.format, image.source.bytes)


def _image_url(image_format: str, content: bytes) -> Part:
    url = f"data:image/{image_format};base64,{b64encode(content).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _document(document: DocumentBlock) -> Part:
    """As it is where its text has not been taken out: for a server that reads files."""
    content = document.source.bytes
    if content is None:
        return _text(document_text(document))
    kind = document.format or "txt"
    data = f"data:{_MEDIA_TYPES[kind]};base64,{b64encode(content).decode()}"
    return {"type": "file", "file": {"filename": f"{document.name}.{kind}", "file_data": data}}


def _guarded(guarded: GuardrailConverseContentBlock) -> Iterator[Part]:
    if guarded.text is not None:
        yield _text(guarded.text.text)
    if guarded.image is not None and guarded.image.source.bytes is not None:
        yield _image_url(guarded.image.format, guarded.image.source.bytes)


def _images_of(result: ToolResultBlock) -> Iterator[Part]:
    """The API has no images in a result: they follow it, with a word on where they come from."""
    images = [part.image for part in result.content if part.image is not None]
    if images:
        yield _text(f"Images in the result of {result.tool_use_id}:")
        yield from map(_image, images)


def _tool_call(use: ToolUseBlock) -> dict[str, Any]:
    arguments = bytes(use.input).decode()
    return {
        "id": use.tool_use_id,
        "type": "function",
        "function": {"name": use.name, "arguments": arguments},
    }


def _reasoning_texts(blocks: Iterable[ContentBlock]) -> Iterator[str]:
    for block in blocks:
        if block.reasoning_content is not None and block.reasoning_content.reasoning_text:
            yield block.reasoning_content.reasoning_text.text
