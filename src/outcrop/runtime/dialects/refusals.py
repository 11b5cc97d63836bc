"""What a server cannot do of what is asked: refused, so that nothing is silently left out."""

from collections.abc import Iterator, Sequence

from outcrop.runtime.attachments import documents, images, search_results
from outcrop.runtime.dialects.anthropic_terms import asks_for_schema, forbids_tools
from outcrop.runtime.dialects.dialect import Asked, Capabilities, Prompt
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseStreamRequest,
    Message,
    OutputConfig,
    SystemContentBlock,
)

# Members of a content block that chat completions have nothing for.
_NOT_IN_CHAT = {
    "video": "video",
    "audio": "audio",
    "tool_addition": "toolAddition",
    "tool_removal": "toolRemoval",
}


def unsupported(member: str, where: str | None = None) -> ValidationException:
    place = "" if where is None else f" for {where}"
    return ValidationException(
        f"This model doesn't support the {member} field{place}. Remove {member} and try again."
    )


def refusal(asked: Asked, capabilities: Capabilities) -> ValidationException | None:
    """Why a server of these capabilities cannot answer; None if it can."""
    if type(asked) is Prompt:
        return None
    return next(_beyond(asked, capabilities), None)


def refuse_what_chat_lacks(request: ConverseRequest | ConverseStreamRequest) -> None:
    """Raises ValidationException for what OpenAI's chat completions have no place for."""
    refuse_guardrails(request)
    config = request.tool_config
    if config is not None and any(tool.system_tool is not None for tool in config.tools):
        raise unsupported("systemTool")
    for block in request.system or ():
        if block.guard_content is not None and block.guard_content.image is not None:
            raise unsupported("guardContent.image", "system")
    for message in request.messages or ():
        _refuse_in(message)


def refuse_guardrails(request: ConverseRequest | ConverseStreamRequest) -> None:
    """Raises ValidationException where there is no Amazon behind the server to hold one."""
    if request.guardrail_config is not None:
        raise ValidationException(
            "The guardrail identifier or version provided in the request does not exist."
        )


def _beyond(
    request: ConverseRequest | ConverseStreamRequest, capabilities: Capabilities
) -> Iterator[ValidationException]:
    if not capabilities.tools and _offers_tools(request):
        streaming = " in streaming mode" if isinstance(request, ConverseStreamRequest) else ""
        yield ValidationException(f"This model doesn't support tool use{streaming}.")
    if request.output_config is not None:
        yield from _beyond_output(request.output_config, capabilities)
    if not capabilities.json_schema and asks_for_schema(request.additional_model_request_fields):
        yield unsupported("additionalModelRequestFields.output_config.format")
    if not capabilities.images:
        yield from _images(request.system or (), request.messages or ())


def _offers_tools(request: ConverseRequest | ConverseStreamRequest) -> bool:
    forbidden = forbids_tools(request.additional_model_request_fields)
    return request.tool_config is not None and not forbidden


def _beyond_output(
    config: OutputConfig, capabilities: Capabilities
) -> Iterator[ValidationException]:
    if config.text_format is not None and not capabilities.json_schema:
        yield unsupported("outputConfig.textFormat")
    if config.effort is not None and not capabilities.reasoning:
        yield unsupported("outputConfig.effort")


def _images(
    system: Sequence[SystemContentBlock], messages: Sequence[Message]
) -> Iterator[ValidationException]:
    for message in messages:
        if any(images(message)):
            yield unsupported("image", f"{message.role} messages")
    guarded = [block.guard_content for block in system]
    guarded += [block.guard_content for message in messages for block in message.content]
    if any(content is not None and content.image is not None for content in guarded):
        yield unsupported("guardContent.image")


def _refuse_in(message: Message) -> None:
    if message.role == "system":
        raise unsupported("system", "messages")
    if None not in [block.text for block in message.content]:
        return  # nothing but text
    where = f"{message.role} messages"
    for member in (*_members_not_in_chat(message), *_sources_not_in_chat(message)):
        raise unsupported(member, where)


def _members_not_in_chat(message: Message) -> Iterator[str]:
    for block in message.content:
        for name, member in _NOT_IN_CHAT.items():
            if getattr(block, name) is not None:
                yield member
        if block.tool_result is not None and any(part.video for part in block.tool_result.content):
            yield "video"


def _sources_not_in_chat(message: Message) -> Iterator[str]:
    for document in documents(message):
        if document.source.s3_location is not None:
            yield "document.source.s3Location"
        if document.citations is not None and document.citations.enabled:
            yield "document.citations"
    cited = (result.citations for result in search_results(message))
    if any(config is not None and config.enabled for config in cited):
        yield "searchResult.citations"
    if any(image.source.s3_location is not None for image in images(message)):
        yield "image.source.s3Location"
