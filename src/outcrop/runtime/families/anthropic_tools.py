"""The tools of Anthropic's Messages body: the caller's are Converse's, its own stay as they are."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Raw

from outcrop.runtime.families import anthropic_body as native
from outcrop.runtime.families.anthropic_turns import cache_point
from outcrop.runtime.families.schema import Schema, document, json_object, malformed
from outcrop.wire.shapes.bedrock_runtime import (
    AnyToolChoice,
    AutoToolChoice,
    SpecificToolChoice,
    Tool,
    ToolChoice,
    ToolConfiguration,
    ToolInputSchema,
    ToolSpecification,
)

# Anthropic's own tools that Bedrock knows; the caller runs the first four. Those that Anthropic
# runs on the web are not offered there.
_OWN_TOOL = re.compile(r"(bash|computer|memory|text_editor|tool_search_tool_(bm25|regex))_\d{8}")

_TOOL = Schema(native.ToolDefinition)


def tool_config(asked: native.Body) -> ToolConfiguration | None:
    tools = [tool for at, raw in enumerate(asked.tools or ()) for tool in _tool(raw, at)]
    if not tools:
        return None
    return ToolConfiguration(tools=tools, tool_choice=_tool_choice(asked.tool_choice))


def _tool(raw: Raw, at: int) -> Iterator[Tool]:
    """Nothing for one of Anthropic's own: that goes as it is, beside the caller's."""
    tool = _definition(raw, at)
    if _is_own(tool):
        return
    if tool.name is None or not tool.input_schema:
        missing = "name" if tool.name is None else "input_schema"
        raise malformed(f"#/tools/{at}: required key [{missing}] not found")
    yield Tool(
        tool_spec=ToolSpecification(
            name=tool.name,
            description=tool.description or None,
            input_schema=ToolInputSchema(
                json=json_object(tool.input_schema, "tools", at, "input_schema")
            ),
            strict=tool.strict,
        )
    )
    if tool.cache_control is not None:
        yield Tool(cache_point=cache_point(tool.cache_control))


def _definition(raw: Raw, at: int) -> native.ToolDefinition:
    tool = _TOOL.decode(bytes(document(raw, "tools", at)), "tools", at)
    if tool.type not in {None, "custom"} and not _is_own(tool):
        raise malformed(f"#/tools/{at}/type: {tool.type} is not a valid enum value")
    return tool


def _is_own(tool: native.ToolDefinition) -> bool:
    return tool.type is not None and _OWN_TOOL.fullmatch(tool.type) is not None


def _tool_choice(choice: native.ToolChoice | None) -> ToolChoice | None:
    if choice is not None and choice.type == "tool" and choice.name is None:
        raise malformed("#/tool_choice: required key [name] not found")
    if choice is None or says_more_than_converse(choice):
        return None
    return _CHOICES[choice.type](choice.name or "")


_CHOICES: Mapping[str, Callable[[str], ToolChoice]] = {
    "auto": lambda _: ToolChoice(auto=AutoToolChoice()),
    "any": lambda _: ToolChoice(any=AnyToolChoice()),
    "tool": lambda name: ToolChoice(tool=SpecificToolChoice(name=name)),
}


def says_more_than_converse(choice: native.ToolChoice) -> bool:
    return choice.type == "none" or bool(choice.disable_parallel_tool_use)


def own_tools(tools: Iterable[Raw]) -> Iterator[Raw]:
    return (raw for raw in tools if _is_own(_TOOL.decode(bytes(raw))))
