"""What a model said, as far as native bodies have places for it."""

from collections.abc import Iterable
from typing import NamedTuple

from outcrop.wire.shapes.bedrock_runtime import ContentBlock, TokenUsage, ToolUseBlock


class Said(NamedTuple):
    text: str
    reasoning: str
    tool_uses: list[ToolUseBlock]


def said(content: Iterable[ContentBlock]) -> Said:
    blocks = list(content)
    return Said(
        text="".join(map(text_of, blocks)),
        reasoning="".join(map(reasoning_of, blocks)),
        tool_uses=[block.tool_use for block in blocks if block.tool_use is not None],
    )


def text_of(block: ContentBlock) -> str:
    if block.citations_content is not None:
        return "".join(part.text or "" for part in block.citations_content.content or ())
    return block.text or ""


def reasoning_of(block: ContentBlock) -> str:
    reasoning = block.reasoning_content
    if reasoning is None or reasoning.reasoning_text is None:
        return ""
    return reasoning.reasoning_text.text


def prompt_tokens(usage: TokenUsage) -> int:
    """Amazon counts what came from a cache apart; the vendors' own counts are of the whole."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return usage.input_tokens + read + written


NO_USAGE = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)
