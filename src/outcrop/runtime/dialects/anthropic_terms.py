"""What only Claude (or Nova) knows, in terms that other models know, or left out, or refused."""

import msgspec
from msgspec import Raw, Struct, structs

from outcrop.runtime.dialects.additional_fields import additional_fields
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Asked, Prompt
from outcrop.wire.errors import ValidationException
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    AnyToolChoice,
    AutoToolChoice,
    ConverseRequest,
    ConverseStreamRequest,
    JsonSchemaDefinition,
    OutputConfig,
    OutputFormat,
    OutputFormatStructure,
    SpecificToolChoice,
    Tool,
    ToolChoice,
    ToolConfiguration,
    ToolInputSchema,
    ToolSpecification,
)

# How the model shall work, or who asks: no answer is wrong without them, and clients send them to
# whatever goes by the model's name.
_LEFT_OUT = (
    "anthropic_beta",
    "anthropic_version",
    "context_management",
    "output_config",
    "reasoningConfig",
    "thinking",
)


class _Choice(Struct, frozen=True):
    """Anthropic's form; OpenAI's has another `type`."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool = False


class _Tool(Struct, frozen=True):
    """One of the caller's that says more than Converse can, or one of Anthropic's own."""

    name: str = ""
    type: str = "custom"
    description: str | None = None
    input_schema: Raw = Raw()
    strict: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[Raw] = []


class _Format(Struct, frozen=True):
    type: str
    schema: Raw


class _OutputConfig(Struct, frozen=True):
    format: _Format | None = None


def in_common_terms(asked: Asked) -> Asked:
    """Raises ValidationException for what cannot be left out."""
    if type(asked) is Prompt or not asked.additional_model_request_fields:
        return asked
    fields = additional_fields(asked.additional_model_request_fields)
    if asked.output_config is None:
        asked = structs.replace(asked, output_config=_output_config(fields))
    for name in _LEFT_OUT:
        fields.pop(name, None)
    if _is_anthropic_metadata(fields.get("metadata", Raw())):
        del fields["metadata"]
    config = _with(asked.tool_config, _taken_tools(fields))
    choice = _anthropic_choice(fields)
    if choice is not None:
        del fields["tool_choice"]
        config = config and _chosen(config, choice)
        if choice.disable_parallel_tool_use and config is not None:
            fields["parallel_tool_calls"] = Raw(b"false")
    return _replaced(asked, config, fields)


def forbids_tools(document: Raw) -> bool:
    """Whether the additional fields say that no tool may be called: Converse has no word for it."""
    choice = _anthropic_choice(_fields(document))
    return choice is not None and choice.type == "none"


def asks_for_schema(document: Raw) -> bool:
    """Whether the additional fields hold the model to a schema."""
    return _output_config(_fields(document)) is not None


def _fields(document: Raw) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(document or b"{}", type=dict[str, Raw])
    except BAD_JSON:
        return {}


def _replaced(
    asked: ConverseRequest | ConverseStreamRequest,
    config: ToolConfiguration | None,
    fields: dict[str, Raw],
) -> ConverseRequest | ConverseStreamRequest:
    left = Raw(msgspec.json.encode(fields)) if fields else ABSENT
    return structs.replace(asked, tool_config=config, additional_model_request_fields=left)


def _output_config(fields: dict[str, Raw]) -> OutputConfig | None:
    """Vercel's SDK asks Claude so for JSON of a schema: another model, too, is held to it."""
    try:
        config = msgspec.json.decode(fields.get("output_config", b"{}"), type=_OutputConfig)
    except BAD_JSON:
        return None
    if config.format is None or config.format.type != "json_schema":
        return None
    definition = JsonSchemaDefinition(schema=bytes(config.format.schema).decode())
    structure = OutputFormatStructure(json_schema=definition)
    return OutputConfig(text_format=OutputFormat(type="json_schema", structure=structure))


def _is_anthropic_metadata(metadata: Raw) -> bool:
    """Just the `user_id`: OpenAI, too, has a field of this name."""
    try:
        return bool(metadata) and msgspec.json.decode(metadata, type=dict[str, Raw]).keys() == {
            "user_id"
        }
    except BAD_JSON:
        return False


def _anthropic_choice(fields: dict[str, Raw]) -> _Choice | None:
    try:
        choice = msgspec.json.decode(fields.get("tool_choice", b"null"), type=_Choice | None)
    except BAD_JSON:
        return None
    return choice if choice and choice.type in {"auto", "any", "tool", "none"} else None


def _chosen(config: ToolConfiguration, choice: _Choice) -> ToolConfiguration | None:
    """A model that shall call no tool is told of none."""
    match choice.type:
        case "none":
            return None
        case "any":
            chosen = ToolChoice(any=AnyToolChoice())
        case "tool":
            chosen = ToolChoice(tool=SpecificToolChoice(name=choice.name))
        case _:
            chosen = ToolChoice(auto=AutoToolChoice())
    return structs.replace(config, tool_choice=chosen)


def _taken_tools(fields: dict[str, Raw]) -> list[Tool]:
    """Anthropic's form, out of the fields; tools in another form stay there."""
    try:
        tools = msgspec.json.decode(fields.get("tools", b"[]"), type=list[_Tool])
    except BAD_JSON:
        return []
    if any(tool.type == "function" for tool in tools):
        return []
    fields.pop("tools", None)
    return [_in_common(tool) for tool in tools]


def _in_common(tool: _Tool) -> Tool:
    """Nobody else defers a tool: it is offered from the start."""
    if tool.type != "custom":
        raise ValidationException(
            f"This model doesn't support tools of type {tool.type}. Remove the tool and try again."
        )
    if tool.allowed_callers is not None and "direct" not in tool.allowed_callers:
        raise ValidationException(
            f"This model doesn't support the tool {tool.name}, which it may not call directly."
            " Remove the tool and try again."
        )
    schema = additional_fields(tool.input_schema)
    if tool.input_examples:
        schema["examples"] = Raw(msgspec.json.encode(tool.input_examples))
    specification = ToolSpecification(
        name=tool.name,
        description=tool.description or None,
        input_schema=ToolInputSchema(json=Raw(msgspec.json.encode(schema))),
        strict=tool.strict,
    )
    return Tool(tool_spec=specification)


def _with(config: ToolConfiguration | None, tools: list[Tool]) -> ToolConfiguration | None:
    if not tools:
        return config
    if config is None:
        return ToolConfiguration(tools=tools)
    return structs.replace(config, tools=[*config.tools, *tools])
