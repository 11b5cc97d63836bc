"""Converse to and from Anthropic's Messages API."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from outcrop.runtime.dialects import anthropic_content
from outcrop.runtime.dialects.additional_fields import novas_own
from outcrop.runtime.dialects.anthropic_stream import MessageReader, complaint
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Asked, Call, Capabilities, Complaint, Prompt, Reader
from outcrop.runtime.dialects.openai_chat import as_conversation
from outcrop.runtime.dialects.refusals import refuse_guardrails
from outcrop.runtime.dialects.schema_reader import held_to_schema
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseStreamRequest,
    InferenceConfiguration,
    OutputConfig,
)

PATH: Final = "/messages"
COUNT_TOKENS_PATH: Final = "/messages/count_tokens"

# Decision: Anthropic demands a number, Converse does not; every Claude can write as much.
MAX_TOKENS: Final = 4096

# Fields of the body that Converse has members for, by the member a caller should use instead.
_OURS: Mapping[str, str] = {
    "messages": "messages",
    "model": "modelId",
    "stream": "modelId",
    "system": "system",
    "max_tokens": "inferenceConfig.maxTokens",
    "temperature": "inferenceConfig.temperature",
    "top_p": "inferenceConfig.topP",
    "stop_sequences": "inferenceConfig.stopSequences",
}

# Fields that may say what a member of Converse says, but not beside it.
_EITHER: Mapping[str, str] = {
    "tool_choice": "toolConfig.toolChoice",
    "output_config": "outputConfig",
}

# What has no say in how many tokens a question is.
_NOT_COUNTED = ("max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences")

# A header made of what callers send: letters that end no header.
_BETA = re.compile(r"[A-Za-z0-9._-]{1,100}")

Request = ConverseRequest | ConverseStreamRequest
T = TypeVar("T")


class AnthropicMessages:
    """Anthropic itself, or any server of its API."""

    def call(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:
        request = as_conversation(asked)
        refuse_guardrails(request)
        fields = _Fields.of(request)
        body = {"stream": True, **_body(request, fields, served_as, capabilities)}
        return Call(PATH, msgspec.json.encode(body), fields.headers)

    # Its answer holds the count as `input_tokens`.
    def count_tokens(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:
        request = as_conversation(asked)
        fields = _Fields.of(request)
        body = _body(request, fields, served_as, capabilities)
        counted = {name: value for name, value in body.items() if name not in _NOT_COUNTED}
        return Call(COUNT_TOKENS_PATH, msgspec.json.encode(counted), fields.headers)

    def reader(self, asked: Asked, *, whole: bool = False) -> Reader:  # noqa: ARG002 - likewise
        paths = None if type(asked) is Prompt else asked.additional_model_response_field_paths
        return held_to_schema(asked, MessageReader(response_field_paths=paths or ()))

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


class _Thinking(Struct, frozen=True):
    budget_tokens: int = 0


_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_BETAS: msgspec.json.Decoder[list[str] | str] = msgspec.json.Decoder(list[str] | str)
_THINKING = msgspec.json.Decoder(_Thinking)


class _Fields(Struct, frozen=True):
    """`additionalModelRequestFields`, taken apart."""

    body: dict[str, Raw]
    """For the body as they are."""
    tools: list[Raw]
    """Anthropic's own, beside those of `toolConfig`."""
    headers: dict[str, str]
    thinking_tokens: int

    @classmethod
    def of(cls, request: Request) -> "_Fields":
        body = _decoded(request.additional_model_request_fields, _OBJECT) or {}
        _check_conflicts(body, request)
        betas = _decoded(body.pop("anthropic_beta", Raw()), _BETAS) or []
        tools = _decoded(body.pop("tools", Raw()), _LIST) or []
        thinking = _decoded(body.get("thinking", Raw()), _THINKING) or _Thinking()
        # Amazon's version of the API, for a body that Amazon reads: here it is a header.
        body.pop("anthropic_version", None)
        # Anthropic refuses what it does not know.
        body |= novas_own(body.pop("inferenceConfig", Raw()))
        body.pop("reasoningConfig", None)
        return cls(body, tools, _headers(betas), thinking.budget_tokens)


def _check_conflicts(fields: Mapping[str, Raw], request: Request) -> None:
    choice = request.tool_config and request.tool_config.tool_choice
    taken = {"tool_choice": choice, "output_config": request.output_config}
    for name in fields:
        if name in _OURS:
            raise _conflict(name, _OURS[name])
        if taken.get(name) is not None:
            raise _conflict(name, _EITHER[name])


def _conflict(field: str, member: str) -> ValidationException:
    return ValidationException(
        f"The additional field {field} conflicts with the existing field {member}. Remove {field}"
        " and try again."
    )


def _headers(betas: list[str] | str) -> dict[str, str]:
    named = [betas] if isinstance(betas, str) else betas
    if not named:
        return {}
    if not all(map(_BETA.fullmatch, named)):
        raise _invalid_fields()
    return {"anthropic-beta": ",".join(named)}


def _decoded(document: Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    if not document:
        return None
    try:
        return decoder.decode(document)
    except BAD_JSON as error:
        raise _invalid_fields() from error


def _invalid_fields() -> ValidationException:
    return ValidationException(
        "The format of the value at additionalModelRequestFields is invalid. Provide a json object"
        " for the field and try again."
    )


def _body(
    request: Request, fields: _Fields, served_as: str, capabilities: Capabilities
) -> dict[str, Any]:
    return {
        **fields.body,
        "model": served_as,
        "max_tokens": MAX_TOKENS + fields.thinking_tokens,
        "messages": anthropic_content.messages(request.messages or (), capabilities),
        **dict(_context(request, fields)),
        **dict(_inference(request.inference_config or InferenceConfiguration())),
    }


def _context(request: Request, fields: _Fields) -> Iterator[tuple[str, Any]]:
    """What is said besides the messages, where something is said."""
    if request.system:
        yield "system", anthropic_content.system(request.system)
    config = request.tool_config
    tools = [*(anthropic_content.tools(config.tools) if config else ()), *fields.tools]
    if tools:
        yield "tools", tools
    if config and config.tool_choice:
        yield "tool_choice", anthropic_content.tool_choice(config.tool_choice)
    if request.output_config is not None:
        yield "output_config", dict(_output(request.output_config))


def _inference(config: InferenceConfiguration) -> Iterator[tuple[str, Any]]:
    members = {
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop_sequences": config.stop_sequences or None,
    }
    return ((name, value) for name, value in members.items() if value is not None)


def _output(config: OutputConfig) -> Iterator[tuple[str, Any]]:
    if config.text_format is not None:
        definition = config.text_format.structure.json_schema
        assert definition is not None, "the union has one member"
        yield "format", {"type": "json_schema", "schema": _schema(definition.schema)}
    if config.effort is not None:
        yield "effort", config.effort


def _schema(text: str) -> Raw:
    try:
        msgspec.json.decode(text, type=dict[str, Raw])
    except BAD_JSON as error:
        raise ValidationException(
            "The format of the value at outputConfig.textFormat.structure.jsonSchema.schema is"
            " invalid. Provide a json object for the field and try again."
        ) from error
    return Raw(text.encode())
