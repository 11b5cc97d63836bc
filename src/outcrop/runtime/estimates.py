"""How many tokens a call may use, or has used, where nobody has counted them."""

from msgspec import Struct

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


# Of JSON: English is about four bytes a token; other scripts are escaped, or have fewer characters.
_BYTES_PER_TOKEN = 4
# What vision models make of a picture of ordinary size (Anthropic: width x height / 750).
_TOKENS_PER_IMAGE = 1_600
# A document's text is a small part of its file.
_DOCUMENT_BYTES_PER_TOKEN = 16


def tokens_in(asked: Asked, body_bytes: int) -> int:
    """An estimate from the size of the request; the answer brings the true number."""
    if type(asked) is Prompt:
        return tokens_of_text(body_bytes)
    images, attached, documents = 0, 0, 0
    for message in asked.messages or ():
        for block in message.content:
            if block.image is not None:
                images += 1
                attached += len(block.image.source.bytes or b"")
            elif block.document is not None:
                documents += len(block.document.source.bytes or b"")
    if not (images or attached or documents):
        return tokens_of_text(body_bytes)
    in_base64 = (attached + documents) * 4 // 3
    return (
        tokens_of_text(max(0, body_bytes - in_base64))
        + images * _TOKENS_PER_IMAGE
        + _rounded_up(documents, _DOCUMENT_BYTES_PER_TOKEN)
    )


def tokens_of_text(body_bytes: int) -> int:
    return _rounded_up(body_bytes, _BYTES_PER_TOKEN)


def tokens_out(asked: Asked) -> int | None:
    """The most that the caller wants; None if he did not say."""
    return None if asked.inference_config is None else asked.inference_config.max_tokens


def _rounded_up(number: int, divisor: int) -> int:
    return -(-number // divisor)


class Generated(Struct):
    """What a model has said so far."""

    characters: int = 0


def estimate(asked: Asked, generated: Generated) -> TokenUsage:
    """What an answer that broke off has used, by its text."""
    input_tokens = _tokens(_characters_asked(asked))
    output_tokens = _tokens(generated.characters)
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
    if type(asked) is Prompt:
        return len(asked.prompt)
    messages: list[Message] = asked.messages or []
    system: list[SystemContentBlock] = asked.system or []
    said = sum(len(block.text or "") for message in messages for block in message.content)
    results = sum(_result_characters(block) for message in messages for block in message.content)
    return said + results + sum(len(block.text or "") for block in system)


def _result_characters(block: ContentBlock) -> int:
    result = block.tool_result
    return sum(len(part.text or "") for part in result.content) if result else 0
