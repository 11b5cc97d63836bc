"""What Vercel's SDK sends Claude to hold it to a schema, for a model that is not Claude."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest

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
    asked = in_terms({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}})

    text_format = asked["outputConfig"]["textFormat"]
    assert text_format["type"] == "json_schema"
    assert msgspec.json.decode(text_format["structure"]["jsonSchema"]["schema"]) == SCHEMA
    assert "additionalModelRequestFields" not in asked


@pytest.mark.parametrize(
    "config", [{"effort": "low"}, {"format": {"type": "other", "schema": {}}}, "nonsense", {}]
)
def test_what_asks_for_no_schema_is_left_out(config: Any) -> None:
    asked = in_terms({"output_config": config, "top_k": 5})

    assert "outputConfig" not in asked
    assert asked["additionalModelRequestFields"] == {"top_k": 5}
