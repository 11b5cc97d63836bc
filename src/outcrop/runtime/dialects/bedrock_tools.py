"""Tools where Amazon's Converse is asked: what it has no word for, said in another way."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, structs

from outcrop.runtime.dialects.additional_fields import additional_fields
from outcrop.runtime.dialects.anthropic_terms import forbids_tools
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.plain_text import tool_result_text, tool_use_text
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    Message,
    ToolResultBlock,
)

Request = ConverseRequest | ConverseStreamRequest

_FILES = ("image", "document", "video")


def in_amazons_terms(request: Request) -> Request:
    """Raises ValidationException for additional fields that are no object."""
    document = request.additional_model_request_fields
    if not document:
        return request
    if forbids_tools(document):
        return _without_tools(request, additional_fields(document))
    if b"defer_loading" in bytes(document):
        return _with_fields(request, _not_deferred(additional_fields(document)))
    return request


def _without_tools(request: Request, fields: dict[str, Raw]) -> Request:
    """Amazon refuses `none`, and earlier calls without tools: those become text.

    github.com/langchain-ai/langchain-aws/issues/620, github.com/boto/botocore/issues/3458
    """
    others = {name: fields[name] for name in fields if name not in {"tool_choice", "tools"}}
    messages = [
        structs.replace(message, content=list(_as_text(message)))
        for message in request.messages or ()
    ]
    return structs.replace(_with_fields(request, others), tool_config=None, messages=messages)


def _as_text(message: Message) -> Iterator[ContentBlock]:
    for block in message.content:
        if block.tool_use is not None:
            yield ContentBlock(text=tool_use_text(block.tool_use))
        elif block.tool_result is not None:
            yield from _result(block.tool_result)
        else:
            yield block


def _result(result: ToolResultBlock) -> Iterator[ContentBlock]:
    files = {name: [getattr(part, name) for part in result.content] for name in _FILES}
    texts = [part for part in result.content if part.document is None and part.video is None]
    text = tool_result_text(texts, failed=result.status == "error")
    yield ContentBlock(text=f"Result of the call {result.tool_use_id}: {text}")
    for name, found in files.items():
        yield from (ContentBlock(**{name: file}) for file in found if file is not None)


def _not_deferred(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Where Anthropic does not search, nobody would find a deferred tool: it is offered at once.

    Converse has no block for what a caller has found.
    """
    try:
        tools = msgspec.json.decode(fields.get("tools", b"[]"), type=list[dict[str, Any]])
    except BAD_JSON:
        return fields
    if _searches(tools):
        return fields
    for tool in tools:
        tool.pop("defer_loading", None)
    return {**fields, "tools": Raw(msgspec.json.encode(tools))}


def _searches(tools: Sequence[dict[str, Any]]) -> bool:
    return any(str(tool.get("type")).startswith("tool_search_tool") for tool in tools)


def _with_fields(request: Request, fields: dict[str, Raw]) -> Request:
    document = Raw(msgspec.json.encode(fields)) if fields else ABSENT
    return structs.replace(request, additional_model_request_fields=document)
