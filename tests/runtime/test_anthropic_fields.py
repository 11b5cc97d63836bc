import json
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.dialect import Asked, Call
from outcrop.wire.errors import ValidationException
from tests.runtime.requests import converse_request

ANTHROPIC = Capabilities(documents=True, completions=False)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}


def call(asked: Asked, capabilities: Capabilities = ANTHROPIC) -> Call:
    return AnthropicMessages().call(asked, "claude", capabilities)


def body_of(capabilities: Capabilities = ANTHROPIC, **members: Any) -> Any:
    return json.loads(call(converse_request(**members), capabilities).body)


def refusal_of(**members: Any) -> str:
    with pytest.raises(ValidationException) as refused:
        body_of(**members)
    return refused.value.message


def test_additional_fields_join_the_body_and_betas_the_header() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    asked = call(
        converse_request(
            toolConfig={"tools": [WEATHER]},
            additionalModelRequestFields={
                "thinking": {"type": "enabled", "budget_tokens": 2000},
                "top_k": 5,
                "metadata": {"user_id": "u"},
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                "anthropic_version": "bedrock-2023-05-31",
                "anthropic_beta": ["context-1m-2025-08-07", "computer-use-2025-01-24"],
                "tools": [search],
            },
        )
    )

    body = json.loads(asked.body)
    assert asked.headers == {"anthropic-beta": "context-1m-2025-08-07,computer-use-2025-01-24"}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["max_tokens"] == 6096, "the thoughts come on top of what is said"
    assert body["top_k"] == 5
    assert body["metadata"] == {"user_id": "u"}
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["tools"] == [{"name": "weather", "input_schema": SCHEMA}, search]
    assert not {"anthropic_version", "anthropic_beta"} & body.keys()


def test_novas_own_fields_do_not_reach_a_server_that_refuses_what_it_does_not_know() -> None:
    body = body_of(
        additionalModelRequestFields={
            "inferenceConfig": {"topK": 7},
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"},
        }
    )

    assert body["top_k"] == 7
    assert not {"inferenceConfig", "reasoningConfig"} & body.keys()


@pytest.mark.parametrize("fields", [[1], "x", {"anthropic_beta": 1}, {"thinking": "yes"}])
def test_additional_fields_of_another_form_are_refused(fields: Any) -> None:
    assert "additionalModelRequestFields" in refusal_of(additionalModelRequestFields=fields)


@pytest.mark.parametrize("beta", ["a\r\nx-api-key: mine", "a b", "", "é"])
def test_no_beta_can_write_a_header_of_its_own(beta: str) -> None:
    fields = {"anthropic_beta": [beta]}

    assert "additionalModelRequestFields" in refusal_of(additionalModelRequestFields=fields)


@pytest.mark.parametrize(
    ("field", "members", "conflict"),
    [
        ("messages", {}, "messages"),
        ("stream", {}, "modelId"),
        ("max_tokens", {}, "inferenceConfig.maxTokens"),
        (
            "tool_choice",
            {"toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}}},
            "toolConfig.toolChoice",
        ),
        ("output_config", {"outputConfig": {"effort": "low"}}, "outputConfig"),
    ],
)
def test_fields_that_converse_has_members_for_are_refused(
    field: str, members: dict[str, Any], conflict: str
) -> None:
    assert refusal_of(additionalModelRequestFields={field: {}}, **members) == (
        f"The additional field {field} conflicts with the existing field {conflict}."
        f" Remove {field} and try again."
    )


def test_an_answer_can_be_held_to_a_schema() -> None:
    schema = {"jsonSchema": {"name": "n", "schema": json.dumps(SCHEMA)}}

    body = body_of(
        outputConfig={
            "textFormat": {"type": "json_schema", "structure": schema},
            "effort": "high",
        }
    )

    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": SCHEMA},
        "effort": "high",
    }


@pytest.mark.parametrize("schema", ["{", "[]", '"x"'])
def test_a_schema_that_is_no_object_is_refused(schema: str) -> None:
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}

    assert "jsonSchema.schema" in refusal_of(outputConfig={"textFormat": text_format})
