"""Meta Llama: a prompt in its chat template and what follows it; with images, a conversation."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.runtime.families.chat_messages import from_base64, image_format, say
from outcrop.runtime.families.family import Answer, Invocation, Metrics, Writer
from outcrop.runtime.families.said import prompt_tokens, said
from outcrop.runtime.families.schema import Schema, malformed
from outcrop.runtime.families.text_writer import STOP_OR_LENGTH, TextWriter
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConversationRole,
    ConverseRequest,
    ImageBlock,
    ImageSource,
    InferenceConfiguration,
    Message,
    StopReason,
    SystemContentBlock,
    TokenUsage,
)

_IMAGE: Final = "<|image|>"
# https://www.llama.com/docs/model-cards-and-prompt-formats: Llama 3 and Llama 4 in turn.
_TURN: Final = re.compile(
    r"<\|(?:start_header_id|header_start)\|>\s*(\w+)\s*<\|(?:end_header_id|header_end)\|>\s*"
    r"(.*?)(?=<\|(?:eot_id|eot|eom_id|eom|start_header_id|header_start)\|>|\Z)",
    re.DOTALL,
)


# More characters than fit into the context of any Llama that sees (128,000 tokens), found out
# before the template is searched for turns.
_LONGEST_PROMPT: Final = 1_000_000


class _Body(Struct, frozen=True, forbid_unknown_fields=True):
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html
    prompt: Annotated[str, Meta(min_length=1)]
    temperature: Annotated[float, Meta(ge=0, le=1)] = 0.5
    top_p: Annotated[float, Meta(ge=0, le=1)] = 0.9
    max_gen_len: Annotated[int, Meta(ge=1, le=2048)] = 512
    # Nothing is documented: as many as Converse takes.
    images: Annotated[list[str], Meta(max_length=20)] = []


class _Response(Struct, frozen=True):
    """Whole, or a chunk of it: counts are known at the end."""

    generation: str
    prompt_token_count: int | None = None
    generation_token_count: int | None = None
    stop_reason: str | None = None
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


_SCHEMA = Schema(_Body)


class Llama:
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:  # noqa: ARG002 - the same either way
        decoded = _SCHEMA.decode(body)
        inference = InferenceConfiguration(
            max_tokens=decoded.max_gen_len, temperature=decoded.temperature, top_p=decoded.top_p
        )
        if not decoded.images:
            return Prompt(model_id=model_id, prompt=decoded.prompt, inference_config=inference)
        if len(decoded.prompt) > _LONGEST_PROMPT:
            raise ValidationException("Input is too long for requested model.")
        # No completions endpoint takes images: the server puts the template back.
        system, messages = _conversation(decoded.prompt, _images(decoded.images))
        return ConverseRequest(
            model_id=model_id, messages=messages, system=system, inference_config=inference
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:  # noqa: ARG002 - nothing of it is told
        text, usage = said(answer.content).text, answer.usage
        return msgspec.json.encode(_response(text, answer.stop_reason, usage, UNSET))

    def writer(self, invocation: Invocation) -> Writer:  # noqa: ARG002 - nothing of it is told
        return TextWriter(_Response, _last_chunk)


def _response(
    text: str, stop_reason: StopReason, usage: TokenUsage, metrics: Metrics | UnsetType
) -> _Response:
    return _Response(
        generation=text,
        prompt_token_count=prompt_tokens(usage),
        generation_token_count=usage.output_tokens,
        stop_reason=STOP_OR_LENGTH[stop_reason],
        metrics=metrics,
    )


def _last_chunk(stop_reason: StopReason, usage: TokenUsage, metrics: Metrics) -> _Response:
    return _response("", stop_reason, usage, metrics)


def _images(images: Sequence[str]) -> list[ContentBlock]:
    return [_image(image, f"#/images/{index}") for index, image in enumerate(images)]


def _image(text: str, pointer: str) -> ContentBlock:
    data = from_base64(text, pointer)
    image = image_format(data)
    if image is None:
        raise malformed(f"{pointer}: string is not a png, jpeg, gif or webp image")
    return ContentBlock(image=ImageBlock(format=image, source=ImageSource(bytes=data)))


def _conversation(
    prompt: str, shown: list[ContentBlock]
) -> tuple[list[SystemContentBlock] | None, list[Message]]:
    """Out of the template; a prompt without one is what a user says."""
    turns = [(role, text.strip()) for role, text in _TURN.findall(prompt)] or [("user", prompt)]
    system = [SystemContentBlock(text=text) for role, text in turns if role == "system" and text]
    messages: list[Message] = []
    images = iter(shown)
    for role, text in turns:
        if role != "system" and text:
            # What a tool gave back comes from the user's side, too.
            speaker: ConversationRole = "assistant" if role == "assistant" else "user"
            say(messages, speaker, _with_images(text, images))
    _show_the_rest(messages, [*images])
    return system or None, messages


def _with_images(text: str, images: Iterator[ContentBlock]) -> list[ContentBlock]:
    """Images stand where the prompt has a place for them."""
    first, *others = text.split(_IMAGE)
    blocks = _text(first)
    for other in others:
        blocks += [*islice(images, 1), *_text(other)]
    return blocks


def _text(text: str) -> list[ContentBlock]:
    return [ContentBlock(text=text)] if text.strip() else []


def _show_the_rest(messages: list[Message], images: list[ContentBlock]) -> None:
    if not images:
        return
    last = next((message for message in reversed(messages) if message.role == "user"), None)
    if last is None:
        messages.insert(0, Message(role="user", content=images))
    else:
        last.content[:0] = images
