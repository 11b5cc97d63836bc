"""A Converse conversation for a small model: everything in it as text, and no tool templates."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from outcrop.runtime.attachments import images
from outcrop.runtime.dialects.openai_messages import system_message
from outcrop.runtime.dialects.plain_text import (
    citations_text,
    document_text,
    search_result_text,
    tool_result_text,
    tool_use_text,
)
from outcrop.runtime.dialects.refusals import unsupported
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    Message,
    ToolResultBlock,
    ToolSpecification,
)


def embedded_messages(
    request: ConverseRequest | ConverseStreamRequest,
    *,
    default_system: str,
    tools: Sequence[ToolSpecification],
) -> list[dict[str, Any]]:
    """`tools` are those of which one must be called: the others are not mentioned at all.

    With the tools still in the prompt a small model repeats its call instead of using the result.
    """
    messages = request.messages or ()
    for message in messages:
        _refuse_images(message)
    names = dict(_tool_names(messages))
    system = "\n".join(message["content"] for message in system_message(request.system or ()))
    texts = [system or default_system]
    if tools:
        texts.append(_instructions(tools))
    return [
        {"role": "system", "content": "\n".join(texts)},
        *({"role": message.role, "content": _content(message, names)} for message in messages),
    ]


def _refuse_images(message: Message) -> None:
    """Whatever the server is said to be able to do: none of them are text."""
    if any(images(message)):
        raise unsupported("image", f"{message.role} messages")
    guarded = (block.guard_content for block in message.content)
    if any(content is not None and content.image is not None for content in guarded):
        raise unsupported("guardContent.image")


def _instructions(tools: Sequence[ToolSpecification]) -> str:
    described = [
        {"name": tool.name, "description": tool.description, "parameters": tool.input_schema.json}
        for tool in tools
    ]
    lines = ["You can call these tools:", *(msgspec.json.encode(one).decode() for one in described)]
    return "\n".join([*lines, 'Reply with JSON {"name": <tool name>, "arguments": {...}}.'])


def _tool_names(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    for message in messages:
        for block in message.content:
            if block.tool_use is not None:
                yield block.tool_use.tool_use_id, block.tool_use.name


def _content(message: Message, names: Mapping[str, str]) -> str | list[dict[str, str]]:
    texts = [text for block in message.content for text in _texts(block, names)]
    if len(texts) == 1:
        return texts[0]
    return [{"type": "text", "text": text} for text in texts]


def _texts(block: ContentBlock, names: Mapping[str, str]) -> Iterator[str]:
    if block.text is not None:
        yield block.text
    elif block.document is not None:
        yield document_text(block.document)
    elif block.tool_use is not None:
        yield tool_use_text(block.tool_use)
    elif block.tool_result is not None:
        yield _result(block.tool_result, names)
    elif block.guard_content is not None and block.guard_content.text is not None:
        yield block.guard_content.text.text
    elif block.citations_content is not None:
        yield citations_text(block.citations_content)
    elif block.search_result is not None:
        yield search_result_text(block.search_result)


def _result(result: ToolResultBlock, names: Mapping[str, str]) -> str:
    name = names.get(result.tool_use_id, "the tool")
    text = tool_result_text(result.content, failed=result.status == "error")
    return f"Tool result from {name}: {text}"
