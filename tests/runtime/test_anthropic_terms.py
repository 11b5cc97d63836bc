import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.runtime.dialects.dialect import Prompt
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import ConverseRequest
from tests.runtime.requests import converse_request

TOOLS = [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]


def settled(**fields: Any) -> tuple[Any, Any]:
    """The choice of a tool, and what is left of the additional fields."""
    request = converse_request(toolConfig={"tools": TOOLS}, additionalModelRequestFields=fields)

    common = in_common_terms(request)

    assert isinstance(common, ConverseRequest)
    left = common.additional_model_request_fields
    config = common.tool_config and json.loads(msgspec.json.encode(common.tool_config))
    return config and config.get("toolChoice"), json.loads(bytes(left)) if left else {}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, ({"auto": {}}, {})),
        ({"type": "any"}, ({"any": {}}, {})),
        ({"type": "tool", "name": "weather"}, ({"tool": {"name": "weather"}}, {})),
        ({"type": "none"}, (None, {})),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            ({"auto": {}}, {"parallel_tool_calls": False}),
        ),
    ],
)
def test_anthropics_choice_of_a_tool_is_every_models(choice: Any, wanted: Any) -> None:
    assert settled(tool_choice=choice) == wanted


@pytest.mark.parametrize("choice", ["auto", {"type": "function", "function": {"name": "x"}}])
def test_a_choice_in_another_form_stays(choice: Any) -> None:
    assert settled(tool_choice=choice) == (None, {"tool_choice": choice})


@pytest.mark.parametrize(
    ("metadata", "left"), [({"user_id": "u"}, {}), ({"team": "a"}, {"metadata": {"team": "a"}})]
)
def test_only_anthropics_metadata_is_left_out(metadata: Any, left: Any) -> None:
    assert settled(metadata=metadata) == (None, left)


def test_switches_of_one_model_are_left_out_and_others_stay() -> None:
    fields = {"thinking": {}, "anthropic_beta": [], "reasoningConfig": {}, "top_k": 5, "seed": 1}

    assert settled(**fields) == (None, {"top_k": 5, "seed": 1})


def test_anthropics_own_tools_are_refused() -> None:
    with pytest.raises(ValidationException, match="tools of type computer_20250124"):
        settled(tools=[{"type": "computer_20250124", "name": "computer"}])


def test_what_needs_no_other_terms_is_handed_on() -> None:
    request, prompt = converse_request(), Prompt(model_id="m", prompt="p")

    assert in_common_terms(request) is request
    assert in_common_terms(prompt) is prompt


def test_additional_fields_that_are_no_object_are_refused() -> None:
    request = converse_request()
    unsound = msgspec.structs.replace(request, additional_model_request_fields=Raw(b"[1]"))

    with pytest.raises(ValidationException, match="additionalModelRequestFields"):
        in_common_terms(unsound)
