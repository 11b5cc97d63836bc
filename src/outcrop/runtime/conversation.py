"""What Converse refuses before any model is asked, in Amazon's words."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from outcrop.runtime.attachments import check_attachments
from outcrop.runtime.dialects.refusals import unsupported
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamRequest,
    Message,
    SystemContentBlock,
    ToolConfiguration,
    ToolResultBlock,
    ToolSpecification,
)

_SERVICE_TIERS = {"priority", "default", "flex", "reserved"}


def check(request: ConverseRequest | ConverseStreamRequest) -> None:
    """Raises ValidationException for what no model accepts, and what no request here may have."""
    if request.service_tier is not None:
        check_service_tier(request.service_tier.type)
    messages = request.messages or ()
    _check_order(messages)
    for index, message in enumerate(messages):
        _check_message(message, index)
    only_text = _are_only_text(messages)
    if not only_text:
        check_attachments(messages)
    if request.tool_config is not None:
        _check_tools(request.tool_config)
    if not only_text:
        _check_tool_results(request, messages)
    if request.system:
        _check_system(request.system)
    _check_paths(request.additional_model_response_field_paths or ())
    _check_nothing_missing(request)


def _are_only_text(messages: Sequence[Message]) -> bool:
    """As most conversations are: then much need not be looked for."""
    for message in messages:
        for block in message.content:
            if block.text is None:
                return False
    return True


def asks_for_cache(request: ConverseRequest | ConverseStreamRequest) -> bool:
    """Whether the caller marked something to be cached."""
    for tool in request.tool_config.tools if request.tool_config is not None else ():
        if tool.cache_point is not None:
            return True
    for said in request.system or ():
        if said.cache_point is not None:
            return True
    for message in request.messages or ():
        for block in message.content:
            if block.cache_point is not None:
                return True
    return False


def check_service_tier(service_tier: str) -> None:
    # Not the wording of an enum (github.com/NousResearch/hermes-agent/issues/34476).
    if service_tier not in _SERVICE_TIERS:
        raise ValidationException("service tier provided is invalid")
    if service_tier == "reserved":
        raise ValidationException("Reservation not found.")


def _check_order(messages: Sequence[Message]) -> None:
    if not messages or messages[0].role != "user":
        raise ValidationException(
            "A conversation must start with a user message. Try again with a conversation that"
            " starts with a user message."
        )
    before = ""
    for message in messages:
        if message.role == before:
            raise ValidationException(
                "A conversation must alternate between user and assistant roles. Make sure the"
                " conversation alternates between user and assistant roles and try again."
            )
        before = message.role


def _check_message(message: Message, number: int) -> None:
    if not message.content:
        raise ValidationException(
            f"The content field in the Message object at messages.{number} is empty. Add a"
            " ContentBlock object to the content field and try again."
        )
    for index, block in enumerate(message.content):
        # A block is one thing, and most are text.
        if block.text is None:
            _check_block(block, message.role, f"messages.{number}.content.{index}")
        elif not block.text or block.text.isspace():
            raise ValidationException(
                f"The text field in the ContentBlock object at messages.{number}.content.{index}"
                " is blank. Add text to the text field, and try again."
            )


def _check_block(block: ContentBlock, role: str, path: str) -> None:
    if block.tool_use is not None and not _is_object(block.tool_use.input):
        raise _no_object(f"{path}.toolUse.input")
    if block.tool_result is not None:
        _check_tool_result(block.tool_result, f"{path}.toolResult")
    if block.reasoning_content is not None and role == "user":
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
        if part.json and not _is_object(part.json):
            raise _no_object(f"{path}.content.{index}.json")


def _check_tools(config: ToolConfiguration) -> None:
    specs = [tool.tool_spec for tool in config.tools]
    for index, spec in enumerate(specs):
        if spec is not None:
            _check_schema(spec, f"toolConfig.tools.{index}.toolSpec.inputSchema.json")
    chosen = None if config.tool_choice is None else config.tool_choice.tool
    if chosen is not None and chosen.name not in {spec.name for spec in specs if spec}:
        # Decision: Amazon's text for it is not known.
        raise ValidationException(
            "The value at toolConfig.toolChoice.tool.name must be the name of a tool in"
            " toolConfig.tools."
        )


class _Schema(msgspec.Struct):
    type: str | list[str] | None = None


def _check_schema(spec: ToolSpecification, path: str) -> None:
    if not _is_object(spec.input_schema.json):
        raise _no_object(path)
    try:
        schema = msgspec.json.decode(spec.input_schema.json, type=_Schema)
    except msgspec.ValidationError:
        schema = _Schema()
    if schema.type != "object":
        raise ValidationException(f"The value at {path}.type must be one of the following: object.")


def _check_tool_results(
    request: ConverseRequest | ConverseStreamRequest, messages: Sequence[Message]
) -> None:
    uses_tools = any(_calls(message) or _answers(message) for message in messages)
    if uses_tools and request.tool_config is None:
        raise ValidationException(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    asked: list[str] = []
    for index, message in enumerate(messages):
        _check_answers(asked, _answers(message), f"messages.{index}.content")
        asked = _calls(message)


def _calls(message: Message) -> list[str]:
    """Those that the caller answers: a model's own tools are answered where they are called."""
    uses = [block.tool_use for block in message.content if block.tool_use is not None]
    return [use.tool_use_id for use in uses if use.type != "server_tool_use"]


def _answers(message: Message) -> list[str]:
    results = [block.tool_result for block in message.content if block.tool_result is not None]
    return [result.tool_use_id for result in results if result.type in {None, "tool_result"}]


def _check_answers(asked: Sequence[str], answered: Sequence[str], path: str) -> None:
    found = set(answered)
    missing = [tool_use_id for tool_use_id in asked if tool_use_id not in found]
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


def _check_paths(paths: Sequence[str]) -> None:
    """An empty or malformed pointer is refused, as Amazon's documentation of the member says."""
    for index, path in enumerate(paths):
        escapes = path.replace("~0", "").replace("~1", "")
        if not path.startswith("/") or "~" in escapes:
            raise ValidationException(
                f"The value at additionalModelResponseFieldPaths.{index} is not a valid JSON"
                " Pointer. Provide a JSON Pointer and try again."
            )


def _check_nothing_missing(request: ConverseRequest | ConverseStreamRequest) -> None:
    """Refused, so that nothing a caller sent is silently left out."""
    if request.prompt_variables is not None:
        raise unsupported("promptVariables")


def _is_object(document: Raw) -> bool:
    return bytes(document).lstrip().startswith(b"{")


def _no_object(path: str) -> ValidationException:
    return ValidationException(
        f"The format of the value at {path} is invalid. Provide a json object for the field and"
        " try again."
    )
