"""What Converse refuses before any model is asked, in Amazon's words."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    Message,
    SystemContentBlock,
    ToolResultBlock,
)

_SERVICE_TIERS = {"priority", "default", "flex", "reserved"}

# Members of a content block that every served model understands or may ignore.
_UNDERSTOOD = {"text", "cachePoint"}


def check(request: ConverseRequest | ConverseStreamRequest) -> None:
    """Raises ValidationException: first what no model accepts, then what ours do not."""
    _check_service_tier(request)
    messages = request.messages or ()
    _check_order(messages)
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}")
    _check_tool_results(request, messages)
    _check_system(request.system or ())
    _check_supported(request, messages)


def asks_for_cache(request: ConverseRequest | ConverseStreamRequest) -> bool:
    """Whether the caller marked something to be cached."""
    system = any(block.cache_point is not None for block in request.system or ())
    return system or any(
        block.cache_point is not None
        for message in request.messages or ()
        for block in message.content
    )


def _check_service_tier(request: ConverseRequest | ConverseStreamRequest) -> None:
    if request.service_tier is None:
        return
    # Not the wording of an enum (github.com/NousResearch/hermes-agent/issues/34476).
    if request.service_tier.type not in _SERVICE_TIERS:
        raise ValidationException("service tier provided is invalid")
    if request.service_tier.type == "reserved":
        raise ValidationException("Reservation not found.")


def _check_order(messages: Sequence[Message]) -> None:
    if not messages or messages[0].role != "user":
        raise ValidationException(
            "A conversation must start with a user message. Try again with a conversation that"
            " starts with a user message."
        )
    if any(one.role == other.role for one, other in pairwise(messages)):
        raise ValidationException(
            "A conversation must alternate between user and assistant roles. Make sure the"
            " conversation alternates between user and assistant roles and try again."
        )


def _check_message(message: Message, path: str) -> None:
    if not message.content:
        raise ValidationException(
            f"The content field in the Message object at {path} is empty. Add a ContentBlock"
            " object to the content field and try again."
        )
    for index, block in enumerate(message.content):
        if block.text is not None and not block.text.strip():
            raise ValidationException(
                f"The text field in the ContentBlock object at {path}.content.{index} is blank."
                " Add text to the text field, and try again."
            )
        if block.tool_result is not None:
            _check_tool_result(block.tool_result, f"{path}.content.{index}.toolResult")
        if block.reasoning_content is not None and message.role == "user":
            raise ValidationException(
                "User messages cannot contain reasoning content. Please remove the reasoning"
                " content and try again."
            )


def _check_tool_result(result: ToolResultBlock, path: str) -> None:
    if result.status == "error" and not result.content:
        raise ValidationException(
            f"The content field at {path} cannot be empty when status value is error."
        )
    for index, part in enumerate(result.content):
        if part.json and not bytes(part.json).lstrip().startswith(b"{"):
            raise ValidationException(
                f"The format of the value at {path}.content.{index}.json is invalid. Provide a"
                " json object for the field and try again."
            )


def _check_tool_results(
    request: ConverseRequest | ConverseStreamRequest, messages: Sequence[Message]
) -> None:
    uses_tools = any(
        block.tool_use is not None or block.tool_result is not None
        for message in messages
        for block in message.content
    )
    if uses_tools and request.tool_config is None:
        raise ValidationException(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    asked: list[str] = []
    for index, message in enumerate(messages):
        answered = [block.tool_result.tool_use_id for block in message.content if block.tool_result]
        _check_answers(asked, answered, f"messages.{index}.content")
        asked = [block.tool_use.tool_use_id for block in message.content if block.tool_use]


def _check_answers(asked: Sequence[str], answered: Sequence[str], path: str) -> None:
    missing = [tool_use_id for tool_use_id in asked if tool_use_id not in answered]
    if missing:
        ids = ", ".join(missing)
        raise ValidationException(
            f"Expected toolResult blocks at {path} for the following Ids: {ids}"
        )
    if len(answered) > len(asked):
        raise ValidationException(
            f"The number of toolResult blocks at {path} exceeds the number of toolUse blocks of"
            " previous turn."
        )


def _check_system(blocks: Sequence[SystemContentBlock]) -> None:
    for index, block in enumerate(blocks):
        if block.text is not None and not block.text.strip():
            raise ValidationException(
                f"The text field in the SystemContentBlock object at system.{index} is blank."
                " Add text to the text field, and try again."
            )


def _check_supported(
    request: ConverseRequest | ConverseStreamRequest, messages: Sequence[Message]
) -> None:
    """Refused, so that nothing a caller sent is silently left out."""
    if request.tool_config is not None:
        streaming = " in streaming mode" if isinstance(request, ConverseStreamRequest) else ""
        raise ValidationException(f"This model doesn't support tool use{streaming}.")
    if request.guardrail_config is not None:
        raise ValidationException(
            "The guardrail identifier or version provided in the request does not exist."
        )
    if request.prompt_variables is not None:
        raise _unsupported("promptVariables")
    if request.output_config is not None:
        raise _unsupported("outputConfig")
    for message in messages:
        _check_content(message)
    for block in request.system or ():
        if block.guard_content is not None:
            raise _unsupported("guardContent", "system messages")


def _check_content(message: Message) -> None:
    if message.role == "system":
        raise _unsupported("system", "messages")
    for block in message.content:
        for member in _members(block):
            if member not in _UNDERSTOOD:
                raise _unsupported(member, f"{message.role} messages")


def _members(block: ContentBlock) -> Iterator[str]:
    """By their names on the wire."""
    for name, wire_name in zip(
        block.__struct_fields__, block.__struct_encode_fields__, strict=True
    ):
        if getattr(block, name) is not None:
            yield wire_name


def _unsupported(member: str, where: str | None = None) -> ValidationException:
    place = "" if where is None else f" for {where}"
    return ValidationException(
        f"This model doesn't support the {member} field{place}. Remove {member} and try again."
    )
