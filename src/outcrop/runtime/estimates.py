"""What an answer that broke off has used, where the server had not counted yet: an estimate."""

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDelta,
    Message,
    SystemContentBlock,
    TokenUsage,
)

CHARACTERS_PER_TOKEN = 4
"""Of English text, in the tokenizers of today's models; what is no text counts for nothing."""


def estimate(asked: Asked, generated_characters: int) -> TokenUsage:
    input_tokens = _tokens(_characters_asked(asked))
    output_tokens = _tokens(generated_characters)
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
    )


def characters_of(delta: ContentBlockDelta) -> int:
    if delta.text is not None:
        return len(delta.text)
    if delta.tool_use is not None:
        return len(delta.tool_use.input)
    if delta.reasoning_content is not None:
        return len(delta.reasoning_content.text or "")
    return 0


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def _characters_asked(asked: Asked) -> int:
    if isinstance(asked, Prompt):
        return len(asked.prompt)
    messages: list[Message] = asked.messages or []
    system: list[SystemContentBlock] = asked.system or []
    said = sum(len(block.text or "") for message in messages for block in message.content)
    results = sum(_result_characters(block) for message in messages for block in message.content)
    return said + results + sum(len(block.text or "") for block in system)


def _result_characters(block: ContentBlock) -> int:
    result = block.tool_result
    return sum(len(part.text or "") for part in result.content) if result else 0
