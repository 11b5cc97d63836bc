"""What a chat body asks: the messages and tools that OpenAI's shape and its relatives share."""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from outcrop.runtime.families.schema import json_object, malformed
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    AnyToolChoice,
    AudioBlock,
    AudioSource,
    AutoToolChoice,
    ContentBlock,
    ConversationRole,
    ImageBlock,
    ImageFormat,
    ImageSource,
    Message,
    ReasoningContentBlock,
    ReasoningTextBlock,
    SpecificToolChoice,
    SystemContentBlock,
    Tool,
    ToolChoice,
    ToolConfiguration,
    ToolInputSchema,
    ToolResultBlock,
    ToolResultContentBlock,
    ToolSpecification,
    ToolUseBlock,
)

_IMAGE_FORMATS: Mapping[str, ImageFormat] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


class TextPart(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    text: str


class RefusalPart(Struct, frozen=True, tag="refusal", forbid_unknown_fields=True):
    refusal: str


class ImageUrl(Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    detail: Literal["auto", "low", "high"] | None = None
    """Read and left: the models behind this body cut every image to one size of their own."""


class ImagePart(Struct, frozen=True, tag="image_url", forbid_unknown_fields=True):
    image_url: ImageUrl | str
    """Mistral's own clients send the URL alone."""


class InputAudio(Struct, frozen=True, forbid_unknown_fields=True):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Struct, frozen=True, tag="input_audio", forbid_unknown_fields=True):
    input_audio: InputAudio


UserPart = TextPart | ImagePart | AudioPart


class FunctionCall(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: str


class ToolCall(Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    function: FunctionCall
    type: Literal["function"] | None = None
    index: int | None = None
    """As a stream gave it; the order of the list says the same."""


class SystemMessage(
    Struct, frozen=True, tag_field="role", tag="system", forbid_unknown_fields=True
):
    content: str | list[TextPart]
    name: str | None = None
    """Here and below: no chat template behind this body has a place for a participant's name."""


class DeveloperMessage(
    Struct, frozen=True, tag_field="role", tag="developer", forbid_unknown_fields=True
):
    content: str | list[TextPart]
    name: str | None = None


class UserMessage(Struct, frozen=True, tag_field="role", tag="user", forbid_unknown_fields=True):
    content: str | list[UserPart]
    name: str | None = None


class AssistantMessage(
    Struct, frozen=True, tag_field="role", tag="assistant", forbid_unknown_fields=True
):
    content: str | list[TextPart | RefusalPart] | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    name: str | None = None
    # Members of an answer that clients send back as they got it: empty, or nothing to go by.
    annotations: list[Raw] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(Struct, frozen=True, tag_field="role", tag="tool", forbid_unknown_fields=True):
    content: str | list[TextPart]
    tool_call_id: str
    name: str | None = None


ChatMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
ChatMessages = Annotated[list[ChatMessage], Meta(min_length=1)]


class FunctionDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class FunctionTool(Struct, frozen=True, tag="function", forbid_unknown_fields=True):
    function: FunctionDefinition


class FunctionName(Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class NamedFunction(Struct, frozen=True, tag="function", forbid_unknown_fields=True):
    function: FunctionName


class Conversation(NamedTuple):
    system: list[SystemContentBlock] | None
    messages: list[Message]


def conversation(messages: Sequence[ChatMessage]) -> Conversation:
    """Converse takes turns: what one role says in a row is one message."""
    system: list[SystemContentBlock] = []
    turns: list[Message] = []
    for index, message in enumerate(messages):
        match message:
            # Wherever they stand (docs.aws.amazon.com/bedrock, model-parameters-openai:
            # "For each message whose role is developer, add … a SystemContentBlock").
            case SystemMessage(content=content) | DeveloperMessage(content=content):
                system += [SystemContentBlock(text=text) for text in _texts(content)]
            case UserMessage(content=content):
                say(turns, "user", _user_blocks(content, index))
            case AssistantMessage():
                say(turns, "assistant", _assistant_blocks(message, index))
            case ToolMessage():
                say(turns, "user", [_tool_result(message)])
    return Conversation(system or None, turns)


def say(turns: list[Message], role: ConversationRole, blocks: list[ContentBlock]) -> None:
    """Goes on with a turn, or takes the next one."""
    if turns and turns[-1].role == role:
        turns[-1].content.extend(blocks)
    else:
        turns.append(Message(role=role, content=blocks))


def tool_configuration(
    tools: Sequence[FunctionTool] | None, choice: ToolChoice | None
) -> ToolConfiguration | None:
    if not tools:
        return None
    return ToolConfiguration(
        tools=[_tool(tool.function, index) for index, tool in enumerate(tools)],
        tool_choice=choice,
    )


def tool_choice(choice: str | NamedFunction | None) -> ToolChoice | None:
    """`none` is no choice of Converse's: it goes among the additional fields."""
    match choice:
        case "auto":
            return ToolChoice(auto=AutoToolChoice())
        case "any" | "required":
            return ToolChoice(any=AnyToolChoice())
        case NamedFunction(function=function):
            return ToolChoice(tool=SpecificToolChoice(name=function.name))
        case _:
            return None


def given_fields(body: Struct, *names: str, forbids_tools: bool = False) -> Raw:
    """Members of a body that Converse has no members for."""
    members = {name: getattr(body, name) for name in names}
    given = {name: value for name, value in members.items() if value is not None}
    return encoded_fields(given, forbids_tools=forbids_tools)


def encoded_fields(given: dict[str, Any], *, forbids_tools: bool) -> Raw:
    """`forbids_tools`, as Anthropic says it: the tools of earlier turns have to stay known."""
    if forbids_tools:
        given["tool_choice"] = {"type": "none"}
    return Raw(msgspec.json.encode(given)) if given else ABSENT


def image_format(data: bytes) -> ImageFormat | None:
    """By its first bytes."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    beginnings: Mapping[bytes, ImageFormat] = {
        b"\x89PNG\r\n\x1a\n": "png",
        b"\xff\xd8\xff": "jpeg",
        b"GIF8": "gif",
    }
    return next((name for start, name in beginnings.items() if data.startswith(start)), None)


def from_base64(text: str, pointer: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise malformed(f"{pointer}: string is not a valid base64")
    return data


def _texts(content: str | Iterable[TextPart]) -> list[str]:
    return [content] if isinstance(content, str) else [part.text for part in content]


def _user_blocks(content: str | list[UserPart], index: int) -> list[ContentBlock]:
    if isinstance(content, str):
        return [ContentBlock(text=content)]
    pointer = f"#/messages/{index}/content"
    return [_user_block(part, f"{pointer}/{at}") for at, part in enumerate(content)]


def _user_block(part: UserPart, pointer: str) -> ContentBlock:
    match part:
        case TextPart(text=text):
            return ContentBlock(text=text)
        case ImagePart(image_url=image):
            return _image_block(image, f"{pointer}/image_url")
        case AudioPart(input_audio=audio):
            data = from_base64(audio.data, f"{pointer}/input_audio/data")
            source = AudioSource(bytes=data)
            return ContentBlock(audio=AudioBlock(format=audio.format, source=source))


def _image_block(image: ImageUrl | str, pointer: str) -> ContentBlock:
    return _image(image, pointer) if isinstance(image, str) else _image(image.url, f"{pointer}/url")


def _image(url: str, pointer: str) -> ContentBlock:
    """Nobody fetches a URL for a caller: the image is in it."""
    head, comma, data = url.partition(",")
    media_type = head.removeprefix("data:").removesuffix(";base64")
    image = _IMAGE_FORMATS.get(media_type)
    if image is None or head != f"data:{media_type};base64" or not comma:
        raise malformed(
            f"{pointer}: string does not match pattern ^data:image/(png|jpeg|gif|webp);base64,"
        )
    source = ImageSource(bytes=from_base64(data, pointer))
    return ContentBlock(image=ImageBlock(format=image, source=source))


def _assistant_blocks(message: AssistantMessage, index: int) -> list[ContentBlock]:
    calls = message.tool_calls or []
    blocks = [*_reasoning(message.reasoning_content), *_assistant_texts(message)]
    blocks += [_tool_use(call, index, at) for at, call in enumerate(calls)]
    return blocks


def _reasoning(text: str | None) -> Iterator[ContentBlock]:
    if text:
        block = ReasoningContentBlock(reasoning_text=ReasoningTextBlock(text=text))
        yield ContentBlock(reasoning_content=block)


def _assistant_texts(message: AssistantMessage) -> Iterator[ContentBlock]:
    content = message.content or ""
    parts = [TextPart(content)] if isinstance(content, str) else content
    texts = [part.text if isinstance(part, TextPart) else part.refusal for part in parts]
    # Beside a tool call clients leave the text empty.
    for text in filter(None, [*texts, message.refusal]):
        yield ContentBlock(text=text)


def _tool_use(call: ToolCall, index: int, at: int) -> ContentBlock:
    path = ("messages", index, "tool_calls", at, "function", "arguments")
    arguments = json_object(Raw(call.function.arguments.encode() or b"{}"), *path)
    return ContentBlock(
        tool_use=ToolUseBlock(tool_use_id=call.id, name=call.function.name, input=arguments)
    )


def _tool_result(message: ToolMessage) -> ContentBlock:
    content = [ToolResultContentBlock(text=text) for text in _texts(message.content)]
    return ContentBlock(
        tool_result=ToolResultBlock(tool_use_id=message.tool_call_id, content=content)
    )


def _tool(function: FunctionDefinition, index: int) -> Tool:
    parameters = function.parameters
    if not parameters or parameters == Raw(b"null"):
        parameters = _NO_PARAMETERS
    schema = json_object(parameters, "tools", index, "function", "parameters")
    return Tool(
        tool_spec=ToolSpecification(
            name=function.name,
            description=function.description or None,
            input_schema=ToolInputSchema(json=schema),
            strict=function.strict,
        )
    )
