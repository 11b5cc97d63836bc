"""The tools of Anthropic's Messages body: Converse's, where Converse says all there is to say."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

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

_KIND = Schema(native.ToolKind)
_TOOL = Schema(native.ToolDefinition)


class Tools(NamedTuple):
    """A body's tools, and what it says of their use."""

    config: ToolConfiguration | None
    """Those that are Converse's, too."""
    apart: list[Raw]
    """Those of which Converse cannot say everything: as they came."""
    choice: native.ToolChoice | None
    """The choice, unless it stands in `config`."""


def tools(asked: native.Body) -> Tools:
    """Raises ValidationException."""
    given = [_tool(raw, at) for at, raw in enumerate(asked.tools or ())]
    apart = [one for one in given if isinstance(one, _Apart)]
    converses = [tool for one in given if not isinstance(one, _Apart) for tool in one]
    choice = asked.tool_choice
    converses_choice = _converses(choice)
    if converses_choice is not None and converses and not _is_among(choice, apart):
        choice = None
    else:
        converses_choice = None
    config = ToolConfiguration(tools=converses, tool_choice=converses_choice) if converses else None
    return Tools(config, [one.raw for one in apart], choice)


class _Apart(NamedTuple):
    name: str | None
    raw: Raw


def _is_among(choice: native.ToolChoice | None, tools: Iterable[_Apart]) -> bool:
    return choice is not None and choice.name in {tool.name for tool in tools}


def _tool(raw: Raw, at: int) -> _Apart | list[Tool]:
    kind = _KIND.decode(bytes(document(raw, "tools", at)), "tools", at)
    if kind.type is not None and _OWN_TOOL.fullmatch(kind.type):
        return _Apart(kind.name, raw)
    tool = _TOOL.decode(bytes(raw), "tools", at)
    written = list(_written(tool, at))
    return _Apart(tool.name, raw) if tool.says_more_than_converse else written


def _written(tool: native.ToolDefinition, at: int) -> Iterator[Tool]:
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


def _converses(choice: native.ToolChoice | None) -> ToolChoice | None:
    """None where there is no choice, or one that Converse has no word for."""
    if choice is not None and choice.type == "tool" and choice.name is None:
        raise malformed("#/tool_choice: required key [name] not found")
    if choice is None or choice.type == "none" or choice.disable_parallel_tool_use:
        return None
    return _CHOICES[choice.type](choice.name or "")


_CHOICES: Mapping[str, Callable[[str], ToolChoice]] = {
    "auto": lambda _: ToolChoice(auto=AutoToolChoice()),
    "any": lambda _: ToolChoice(any=AnyToolChoice()),
    "tool": lambda name: ToolChoice(tool=SpecificToolChoice(name=name)),
}
