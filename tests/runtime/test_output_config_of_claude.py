"""What Vercel's SDK sends Claude to hold it to a schema, for a model that is not Claude."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.dialects.refusals import refusal
from outcrop.runtime.families.anthropic import Anthropic
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest
from tests.runtime.families.native import asked

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def in_terms(fields: Any, **more: Any) -> dict[str, Any]:
    asked = ConverseRequest(
        model_id="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        additional_model_request_fields=Raw(msgspec.json.encode(fields)),
    )
    settled = in_common_terms(msgspec.structs.replace(asked, **more))
    members: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settled))
    return members


def test_the_schema_becomes_converses_own() -> None:
    told = in_terms({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}})

    text_format = told["outputConfig"]["textFormat"]
    assert text_format["type"] == "json_schema"
    assert msgspec.json.decode(text_format["structure"]["jsonSchema"]["schema"]) == SCHEMA
    assert "additionalModelRequestFields" not in told


@pytest.mark.parametrize(
    "config", [{"effort": "low"}, {"format": {"type": "other", "schema": {}}}, "nonsense", {}]
)
def test_what_asks_for_no_schema_is_left_out(config: Any) -> None:
    told = in_terms({"output_config": config, "top_k": 5})

    assert "outputConfig" not in told
    assert told["additionalModelRequestFields"] == {"top_k": 5}


def test_a_schema_beside_an_effort_holds_a_model_that_knows_of_none() -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "high"}
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "?"}],
        "output_config": config,
    }
    question = asked(Anthropic(), body)
    unreasoning = Capabilities(reasoning=False)

    to_claude = msgspec.json.decode(AnthropicMessages().call(question, "m", unreasoning).body)
    to_another = msgspec.json.decode(OpenAiChat().call(question, "m", unreasoning).body)

    assert refusal(question, unreasoning) is None
    assert refusal(question, Capabilities(json_schema=False)) is not None
    assert to_claude["output_config"] == config
    assert to_another["response_format"]["json_schema"]["schema"] == SCHEMA
