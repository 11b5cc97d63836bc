"""A Converse request as the body of OpenAI's chat completions, or of its completions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from outcrop.runtime.dialects.additional_fields import additional_fields, novas_own
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Capabilities, Prompt
from outcrop.runtime.dialects.openai_messages import openai_messages
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseStreamRequest,
    InferenceConfiguration,
    JsonSchemaDefinition,
    OutputConfig,
    ToolChoice,
    ToolConfiguration,
    ToolSpecification,
)

# Fields of the body that Converse has members for, by the member a caller should use instead.
_OURS: Mapping[str, str] = {
    "messages": "messages",
    "prompt": "messages",
    "model": "modelId",
    "max_tokens": "inferenceConfig.maxTokens",
    "max_completion_tokens": "inferenceConfig.maxTokens",
    "temperature": "inferenceConfig.temperature",
    "top_p": "inferenceConfig.topP",
    "stop": "inferenceConfig.stopSequences",
    "tools": "toolConfig.tools",
    "tool_choice": "toolConfig.toolChoice",
    "response_format": "outputConfig.textFormat",
    "stream": "modelId",
    "stream_options": "modelId",
    "n": "modelId",
}

# What begins the answer is no turn of its own. vLLM would answer it and SGLang take it for the
# user's, both unless they are told (docs.vllm.ai, "Extra parameters" of the chat API; SGLang's
# serving_chat.py); llama.cpp goes on by itself.
_GOES_ON: Mapping[str, bool] = {"continue_final_message": True, "add_generation_prompt": False}

# Switches of other vendors' models, which SDKs send by the model's name, whoever serves it.
_NOT_KNOWN_HERE = {"anthropic_beta", "anthropic_version", "thinking", "reasoning_config"}


def chat_body(
    request: ConverseRequest | ConverseStreamRequest, served_as: str, capabilities: Capabilities
) -> dict[str, Any]:
    messages = openai_messages(request.system or (), request.messages or (), capabilities)
    body = {"model": served_as, "messages": messages, **streamed()}
    body |= inference(request.inference_config)
    if request.tool_config is not None:
        body |= dict(_tools(request.tool_config))
    if request.output_config is not None:
        body |= dict(output(request.output_config))
    return body


def prefilled(
    messages: Sequence[Mapping[str, Any]], capabilities: Capabilities
) -> Mapping[str, bool]:
    """What tells a server to go on with a last message of the assistant's; empty if there is none.

    Calls of tools are no beginning of an answer.
    """
    if not messages or not capabilities.prefill:
        return {}
    last = messages[-1]
    begun = last["role"] == "assistant" and last["content"] and "tool_calls" not in last
    return _GOES_ON if begun else {}


def completion_body(prompt: Prompt, served_as: str) -> dict[str, Any]:
    body = {"model": served_as, "prompt": prompt.prompt}
    return {**body, **streamed(), **inference(prompt.inference_config)}


def streamed() -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}}


def inference(config: InferenceConfiguration | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if config is None:
        return told
    if config.max_tokens is not None:
        told["max_tokens"] = config.max_tokens
    if config.temperature is not None:
        told["temperature"] = config.temperature
    if config.top_p is not None:
        told["top_p"] = config.top_p
    if config.stop_sequences:
        told["stop"] = config.stop_sequences
    return told


def fields_of_the_caller(document: Raw) -> dict[str, Raw]:
    """Whatever else the model takes; raises ValidationException for what has a member already."""
    if not document:
        return {}
    fields = additional_fields(document)
    for name in fields:
        if name in _OURS:
            raise ValidationException(
                f"The additional field {name} conflicts with the existing field {_OURS[name]}."
                f" Remove {name} and try again."
            )
    fields |= novas_own(fields.pop("inferenceConfig", Raw()))
    return {name: value for name, value in fields.items() if name not in _NOT_KNOWN_HERE}


def output(config: OutputConfig) -> Iterator[tuple[str, Any]]:
    if config.effort is not None:
        yield "reasoning_effort", config.effort
    if config.text_format is not None and config.text_format.structure.json_schema is not None:
        yield "response_format", response_format(config.text_format.structure.json_schema)


def response_format(definition: JsonSchemaDefinition) -> dict[str, Any]:
    json_schema: dict[str, Any] = {"name": definition.name or "output"}
    if definition.description:
        json_schema["description"] = definition.description
    json_schema |= {"schema": _schema(definition.schema), "strict": True}
    return {"type": "json_schema", "json_schema": json_schema}


def _schema(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except BAD_JSON as error:
        raise ValidationException(
            "The format of the value at outputConfig.textFormat.structure.jsonSchema.schema is"
            " invalid. Provide a json object for the field and try again."
        ) from error


def _tools(config: ToolConfiguration) -> Iterator[tuple[str, Any]]:
    yield "tools", [_tool(tool.tool_spec) for tool in config.tools if tool.tool_spec is not None]
    if config.tool_choice is not None:
        yield "tool_choice", _tool_choice(config.tool_choice)


def _tool(spec: ToolSpecification) -> dict[str, Any]:
    function: dict[str, Any] = {"name": spec.name}
    if spec.description is not None:
        function["description"] = spec.description
    function["parameters"] = spec.input_schema.json
    if spec.strict is not None:
        function["strict"] = spec.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.tool is not None:
        return {"type": "function", "function": {"name": choice.tool.name}}
    return "auto" if choice.any is None else "required"
