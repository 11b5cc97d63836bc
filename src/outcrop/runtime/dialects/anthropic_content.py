"""Converse's content, system prompt and tools as Anthropic's Messages API writes them."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from outcrop.runtime.dialects.anthropic_citations import as_anthropic
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Capabilities
from outcrop.runtime.dialects.plain_text import (
    citations_text,
    document_text,
    search_result_text,
)
from outcrop.runtime.dialects.refusals import unsupported
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    CachePointBlock,
    CitationsConfig,
    CitationsContentBlock,
    ContentBlock,
    DocumentBlock,
    GuardrailConverseContentBlock,
    ImageBlock,
    Message,
    ReasoningContentBlock,
    SearchResultBlock,
    SystemContentBlock,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolResultContentBlock,
    ToolUseBlock,
)

Block = dict[str, Any]
_T = TypeVar("_T", DocumentBlock, SearchResultBlock)

# Anthropic caches what stands before them together with what stands behind them.
_NEVER_MARKED = frozenset({"thinking", "redacted_thinking"})

# What these find is a list, or an error; what others find is an object.
_FIND_LISTS = frozenset({"web_search_tool_result", "mcp_tool_result"})

# Documents that are text; Anthropic reads one kind of file besides, PDF.
_TEXT_FORMATS = frozenset({"txt", "md", "csv", "html"})


def messages(given: Iterable[Message], capabilities: Capabilities) -> list[Block]:
    return [{"role": message.role, "content": _content(message, capabilities)} for message in given]


def system(blocks: Iterable[SystemContentBlock]) -> list[Block]:
    written: list[Block] = []
    for block in blocks:
        if block.cache_point is not None:
            _mark(written[-1:], block.cache_point)
        elif block.guard_content is not None:
            written.append(_guarded(block.guard_content))
        else:
            written.append(_text(block.text or ""))
    return written


def tools(given: Iterable[Tool]) -> list[Block]:
    written: list[Block] = []
    for tool in given:
        if tool.cache_point is not None:
            _mark(written[-1:], tool.cache_point)
        else:
            written.append(_tool(tool))
    return written


def tool_choice(choice: ToolChoice) -> Block:
    if choice.tool is not None:
        return {"type": "tool", "name": choice.tool.name}
    return {"type": "auto" if choice.any is None else "any"}


def _content(message: Message, capabilities: Capabilities) -> list[Block]:
    if message.role == "system":
        raise unsupported("system", "messages")
    write = _BLOCKS if capabilities.documents else _WITHOUT_FILES
    written: list[Block] = []
    markable: list[Block] = []
    for block in message.content:
        if block.cache_point is not None:
            _mark(markable, block.cache_point)
        elif capabilities.reasoning or block.reasoning_content is None:
            written.append(_block(block, write, f"{message.role} messages"))
            if written[-1]["type"] not in _NEVER_MARKED:
                markable = written[-1:]
    return written


def _mark(last: list[Block], point: CachePointBlock) -> None:
    """A cache point closes what stands before it; with nothing there, there is nothing to keep."""
    ttl = {} if point.ttl is None else {"ttl": point.ttl}
    for block in last:
        block["cache_control"] = {"type": "ephemeral", **ttl}


def _block(block: ContentBlock, write: "_Table", where: str) -> Block:
    if block.tool_result is not None:
        return _tool_result(block.tool_result, write)
    for member, written in write.items():
        value = getattr(block, member)
        if value is not None:
            return written(value)
    raise _unsupported(block, where)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image(image: ImageBlock) -> Block:
    if image.source.bytes is None:
        raise _in_s3("image")
    return {"type": "image", "source": _base64(f"image/{image.format}", image.source.bytes)}


def _base64(media_type: str, data: bytes) -> Block:
    # msgspec writes bytes as base64.
    return {"type": "base64", "media_type": media_type, "data": data}


def _document(document: DocumentBlock) -> Block:
    written: Block = {
        "type": "document",
        "source": _document_source(document),
        "title": document.name,
    }
    if document.context is not None:
        written["context"] = document.context
    return {**written, **_citing(document.citations)}


def _document_source(document: DocumentBlock) -> Block:
    source = document.source
    if source.text is not None:
        return _plain_text(source.text)
    if source.content is not None:
        return {"type": "content", "content": [_text(part.text or "") for part in source.content]}
    if source.bytes is None:
        raise _in_s3("document")
    if document.format == "pdf":
        return _base64("application/pdf", source.bytes)
    if document.format in _TEXT_FORMATS:
        return _plain_text(source.bytes.decode(errors="replace"))
    raise ValidationException(
        f"This model doesn't support documents of format {document.format}. Provide the document"
        " as pdf, csv, html, txt or md and try again."
    )


def _plain_text(text: str) -> Block:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _citing(citations: CitationsConfig | None) -> Block:
    return {} if citations is None else {"citations": {"enabled": citations.enabled}}


def _tool_use(use: ToolUseBlock) -> Block:
    kind = use.type or "tool_use"
    return {"type": kind, "id": use.tool_use_id, "name": use.name, "input": use.input}


def _tool_result(result: ToolResultBlock, write: "_Table") -> Block:
    if result.type not in {None, "tool_result"}:
        return own_tool_result(result)
    written: Block = {"type": "tool_result", "tool_use_id": result.tool_use_id}
    if result.content:
        written["content"] = [_result_part(part, write) for part in result.content]
    if result.status == "error":
        written["is_error"] = True
    return written


def own_tool_result(result: ToolResultBlock) -> Block:
    """What one of Anthropic's own tools found, as it came."""
    found = [part.json for part in result.content if part.json]
    alone = result.status == "error" or result.type not in _FIND_LISTS
    content = found[0] if alone and len(found) == 1 else found
    return {"type": result.type, "tool_use_id": result.tool_use_id, "content": content}


def _result_part(part: ToolResultContentBlock, write: "_Table") -> Block:
    if part.json:
        return _reference(part.json) or _text(bytes(part.json).decode())
    for member in ("text", "image", "document", "search_result"):
        value = getattr(part, member)
        if value is not None:
            return write[member](value)
    raise _unsupported(part, "tool results")


class _ToolReference(Struct, frozen=True, tag="tool_reference", forbid_unknown_fields=True):
    tool_name: str


def _reference(document: Raw) -> Block | None:
    """A deferred tool that the caller has found for the model: Converse has no word for it."""
    try:
        reference = msgspec.json.decode(document, type=_ToolReference)
    except BAD_JSON:
        return None
    return {"type": "tool_reference", "tool_name": reference.tool_name}


def _reasoning(reasoning: ReasoningContentBlock) -> Block:
    if reasoning.redacted_content is not None:
        return {"type": "redacted_thinking", "data": _opaque(reasoning.redacted_content)}
    assert reasoning.reasoning_text is not None, "one of the two is there"
    text = reasoning.reasoning_text
    return {"type": "thinking", "thinking": text.text, "signature": text.signature or ""}


def _opaque(data: bytes) -> str:
    """Anthropic's own text, as the reader of its stream hands it out; or bytes of other origin."""
    return data.decode() if data.isascii() else b64encode(data).decode()


def _guarded(guarded: GuardrailConverseContentBlock) -> Block:
    """There is no guardrail here to judge it: it is content like any other."""
    if guarded.text is not None:
        return _text(guarded.text.text)
    assert guarded.image is not None, "one of the two is there"
    source = guarded.image.source.bytes or b""
    return {"type": "image", "source": _base64(f"image/{guarded.image.format}", source)}


def _cited(content: CitationsContentBlock) -> Block:
    texts = [part.text for part in content.content or () if part.text is not None]
    citations = [cited for citation in content.citations or () if (cited := as_anthropic(citation))]
    return {**_text("".join(texts)), **({"citations": citations} if citations else {})}


def _search_result(result: SearchResultBlock) -> Block:
    return {
        "type": "search_result",
        "source": result.source,
        "title": result.title,
        "content": [_text(part.text) for part in result.content],
        **_citing(result.citations),
    }


def _uncited(member: str, given: _T, text: Callable[[_T], str]) -> Block:
    """As text, of which no server says where it has something from."""
    if given.citations is not None and given.citations.enabled:
        raise unsupported(f"{member}.citations", "messages")
    return _text(text(given))


def _tool(tool: Tool) -> Block:
    spec = tool.tool_spec
    if spec is None:
        raise unsupported("systemTool")
    written: Block = {"name": spec.name, "input_schema": spec.input_schema.json or Raw(b"{}")}
    if spec.description is not None:
        written["description"] = spec.description
    if spec.strict is not None:
        written["strict"] = spec.strict
    return written


_Table = Mapping[str, Callable[[Any], Block]]

_BLOCKS: _Table = {
    "text": _text,
    "tool_use": _tool_use,
    "image": _image,
    "document": _document,
    "reasoning_content": _reasoning,
    "citations_content": _cited,
    "search_result": _search_result,
    "guard_content": _guarded,
}

# For servers of this API that know only its older half.
_WITHOUT_FILES: _Table = {
    **_BLOCKS,
    "document": lambda document: _uncited("document", document, document_text),
    "search_result": lambda result: _uncited("searchResult", result, search_result_text),
    "citations_content": lambda cited: _text(citations_text(cited)),
}


def _in_s3(member: str) -> ValidationException:
    return unsupported(f"{member}.source.s3Location", "messages")


def _unsupported(block: ContentBlock | ToolResultContentBlock, where: str) -> ValidationException:
    names = zip(block.__struct_fields__, block.__struct_encode_fields__, strict=True)
    return unsupported(next(wire_name for name, wire_name in names if getattr(block, name)), where)
