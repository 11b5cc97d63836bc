"""From Anthropic's Messages body to a Converse request."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from outcrop.runtime.families import anthropic_body as native
from outcrop.runtime.families.anthropic_tools import Tools, tools
from outcrop.runtime.families.anthropic_turns import cache_point, messages
from outcrop.runtime.families.schema import Schema, json_object
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseStreamRequest,
    InferenceConfiguration,
    JsonSchemaDefinition,
    OutputConfig,
    OutputFormat,
    OutputFormatStructure,
    SystemContentBlock,
)

_BODY = Schema(native.Body)


def converse_request(
    body: bytes, model_id: str, request_type: type[ConverseRequest | ConverseStreamRequest]
) -> ConverseRequest | ConverseStreamRequest:
    """Raises ValidationException."""
    asked = _BODY.decode(body)
    given = tools(asked)
    request = request_type(
        model_id=model_id,
        messages=messages(asked),
        system=_system(asked.system) or None,
        inference_config=InferenceConfiguration(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            stop_sequences=asked.stop_sequences or None,
        ),
        tool_config=given.config,
        output_config=_output_config(asked),
    )
    fields = dict(_fields(asked, given))
    if not fields:
        return request
    additional = Raw(msgspec.json.encode(fields))
    return msgspec.structs.replace(request, additional_model_request_fields=additional)


def _system(system: list[native.TextBlock] | str | None) -> list[SystemContentBlock]:
    if not system:
        return []
    if isinstance(system, str):
        return [SystemContentBlock(text=system)]
    blocks: list[SystemContentBlock] = []
    for block in system:
        if not block.text:
            raise ValidationException("system: text content blocks must be non-empty")
        blocks.append(SystemContentBlock(text=block.text))
        if block.cache_control is not None:
            blocks.append(SystemContentBlock(cache_point=cache_point(block.cache_control)))
    return blocks


def _output_config(asked: native.Body) -> OutputConfig | None:
    format_ = _format(asked)
    if format_ is None or _effort(asked) is not None:
        return None
    return OutputConfig(text_format=_text_format(format_))


def _format(asked: native.Body) -> native.OutputFormat | None:
    config = asked.output_config or native.OutputConfig()
    return config.format or asked.output_format


def _effort(asked: native.Body) -> str | None:
    return asked.output_config.effort if asked.output_config else None


def _text_format(format_: native.OutputFormat) -> OutputFormat:
    schema = json_object(format_.schema, "output_config", "format", "schema")
    definition = JsonSchemaDefinition(schema=bytes(schema).decode(), name=format_.name)
    return OutputFormat(type="json_schema", structure=OutputFormatStructure(json_schema=definition))


def _fields(asked: native.Body, given: Tools) -> Iterator[tuple[str, Any]]:
    """What Converse has no members for, where Amazon, too, has callers of Converse put it."""
    if asked.top_k is not None:
        yield "top_k", asked.top_k
    if asked.anthropic_beta:
        yield "anthropic_beta", asked.anthropic_beta
    if asked.metadata is not None and asked.metadata.user_id is not None:
        yield "metadata", {"user_id": asked.metadata.user_id}
    for name in ("thinking", "context_management"):
        document: Raw = getattr(asked, name)
        if document:
            yield name, json_object(document, name)
    if _effort(asked) is not None:
        # Not Converse's member, which is refused where a model does not reason: clients send it
        # to whatever goes by Claude's name. A format stands beside it, as in the caller's body.
        yield "output_config", {"effort": _effort(asked), **dict(_native_format(asked))}
    yield from _tool_fields(given)


def _native_format(asked: native.Body) -> Iterator[tuple[str, Any]]:
    format_ = _format(asked)
    if format_ is not None:
        schema = json_object(format_.schema, "output_config", "format", "schema")
        yield "format", {"type": "json_schema", "schema": schema}


def _tool_fields(given: Tools) -> Iterator[tuple[str, Any]]:
    if given.choice is not None and (given.config or given.apart):
        yield "tool_choice", _without_none(given.choice)
    if given.apart:
        yield "tools", given.apart


def _without_none(record: msgspec.Struct) -> dict[str, Any]:
    members = msgspec.structs.asdict(record)
    return {name: value for name, value in members.items() if value is not None}
