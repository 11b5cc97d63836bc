"""OpenAI's chat completions: gpt-oss, and all who took over its body (Qwen, DeepSeek V3, …)."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct, field

from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.families.chat_completion import (
    CompletionWriter,
    Reasoning,
    UsageIn,
    completion,
    openai_head,
)
from outcrop.runtime.families.chat_messages import (
    ChatMessages,
    FunctionTool,
    NamedFunction,
    conversation,
    encoded_fields,
    tool_choice,
    tool_configuration,
)
from outcrop.runtime.families.family import Answer, Invocation, Writer
from outcrop.runtime.families.schema import Schema, StopSequence, document, json_object, malformed
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    InferenceConfiguration,
    JsonSchemaDefinition,
    OutputConfig,
    OutputFormat,
    OutputFormatStructure,
    ServiceTier,
)

_ANY_OBJECT: Final = '{"type":"object"}'


class _JsonSchema(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    schema: Raw = Raw(_ANY_OBJECT.encode())
    description: str | None = None
    strict: bool | None = None
    """Read and left: what Converse calls a JSON schema is always kept to."""


class _Text(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    pass


class _JsonObject(Struct, frozen=True, tag="json_object", forbid_unknown_fields=True):
    pass


class _JsonSchemaFormat(Struct, frozen=True, tag="json_schema", forbid_unknown_fields=True):
    json_schema: _JsonSchema


ResponseFormat = _Text | _JsonObject | _JsonSchemaFormat


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Read and left: every frame of Amazon's is padded as it is."""


class _Body(Struct, frozen=True):
    """What has a place in Converse, and what nobody behind us can do; the rest goes to the server.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html
    """

    messages: ChatMessages
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: StopSequence | list[StopSequence] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    response_format: ResponseFormat | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    # One text is all that Converse tells of an answer.
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=0)] | None = None
    logprobs: bool | None = None
    modalities: list[Literal["text"]] | None = None
    audio: None = None
    # Nothing is kept, predicted or looked up in the web.
    store: bool | None = None
    prediction: None = None
    web_search_options: None = None
    # No guardrail has got here.
    guardrail: None = field(default=None, name="amazon-bedrock-guardrailConfig")
    # The forerunners of tools.
    functions: None = None
    function_call: None = None


_SCHEMA = Schema(_Body)
_UNDERSTOOD = frozenset(_Body.__struct_encode_fields__)


class OpenAi:
    def __init__(self, reasoning: Reasoning) -> None:
        self._reasoning: Reasoning = reasoning

    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:
        decoded = _SCHEMA.decode(body)
        _check(decoded, model_id, streaming=streaming)
        system, messages = conversation(decoded.messages)
        return ConverseRequest(
            model_id=model_id,
            messages=messages,
            system=system,
            inference_config=_inference(decoded),
            tool_config=tool_configuration(decoded.tools, tool_choice(decoded.tool_choice)),
            output_config=output_config(decoded.response_format),
            service_tier=_service_tier(decoded.service_tier),
            additional_model_request_fields=_other_fields(
                body, forbids_tools=bool(decoded.tools) and decoded.tool_choice == "none"
            ),
        )

    def response(self, answer: Answer, invocation: Invocation) -> bytes:
        return completion(answer, openai_head(invocation), self._reasoning)

    def writer(self, invocation: Invocation) -> Writer:
        options = _SCHEMA.decode(invocation.body).stream_options
        apart = options is not None and options.include_usage
        usage_in: UsageIn = "a chunk of its own" if apart else "no chunk"
        return CompletionWriter(openai_head(invocation), self._reasoning, usage_in=usage_in)


def output_config(response_format: ResponseFormat | None) -> OutputConfig | None:
    match response_format:
        case _JsonSchemaFormat(json_schema=schema):
            path = ("response_format", "json_schema", "schema")
            text = bytes(json_object(schema.schema, *path)).decode()
            return _kept_to(text, schema.name, schema.description)
        case _JsonObject():
            return _kept_to(_ANY_OBJECT, None, None)
        case _:
            return None


def _other_fields(body: bytes, *, forbids_tools: bool) -> Raw:
    """Fields that only the model server can judge, as they came."""
    fields: Mapping[str, Raw] = msgspec.json.decode(body, type=dict[str, Raw])
    others = {
        name: document(value, name)
        for name, value in fields.items()
        if name not in _UNDERSTOOD and value != Raw(b"null")
    }
    return encoded_fields(others, forbids_tools=forbids_tools)


def _check(body: _Body, model_id: str, *, streaming: bool) -> None:
    if body.model is not None and body.model != model_id:
        raise malformed(f"#/model: {body.model} is not a valid enum value")
    if body.stream is not None and body.stream != streaming:
        raise malformed(f"#/stream: {str(body.stream).lower()} is not a valid enum value")
    for name in ("logprobs", "store"):
        if getattr(body, name):
            raise malformed(f"#/{name}: true is not a valid enum value")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise malformed("#: only one of [max_tokens, max_completion_tokens] is permitted")


def _inference(body: _Body) -> InferenceConfiguration:
    return InferenceConfiguration(
        max_tokens=body.max_tokens or body.max_completion_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop_sequences=[body.stop] if isinstance(body.stop, str) else body.stop or None,
    )


def _service_tier(tier: str | None) -> ServiceTier | None:
    return None if tier in (None, "auto") else ServiceTier(type=tier or "default")


def _kept_to(schema: str, name: str | None, description: str | None) -> OutputConfig:
    definition = JsonSchemaDefinition(schema=schema, name=name, description=description)
    structure = OutputFormatStructure(json_schema=definition)
    return OutputConfig(text_format=OutputFormat(type="json_schema", structure=structure))
