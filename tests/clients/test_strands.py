"""The unmodified strands-agents: an agent with a tool."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_strands")


@pytest.mark.parametrize("scene", ["embedded", "embedded_at_once", "application_profile"])
def test_the_embedded_model_answers(saw: Any, scene: str) -> None:
    assert saw[scene]["text"]
    assert saw[scene]["stop_reason"] == "end_turn"
    assert saw[scene]["usage"]["inputTokens"] > 0
    assert saw[scene]["usage"]["outputTokens"] > 0


def test_a_stream_is_read_to_its_end(saw: Any) -> None:
    assert "".join(saw["stream"]["texts"]) == GREETING
    assert len(saw["stream"]["texts"]) > 5
    assert saw["stream"]["answer"]["usage"] == {
        "inputTokens": 11,
        "outputTokens": 7,
        "totalTokens": 18,
    }


@pytest.mark.parametrize("scene", ["tool_loop", "tool_loop_at_once"])
def test_a_tool_is_called_and_its_result_is_read(saw: Any, scene: str) -> None:
    asked, called, result, answer = saw[scene]["messages"]

    assert asked["content"] == [{"text": "Call get_weather."}]
    assert called["content"][0]["toolUse"]["input"] == {"city": "Zürich"}
    assert result["content"][0]["toolResult"]["content"] == [{"text": "rain in Zürich"}]
    assert answer["content"] == [{"text": "The tool says: rain in Zürich"}]
    assert saw[scene]["calls"] == 1


def test_structured_output_becomes_a_record(saw: Any) -> None:
    assert saw["structured"] == {"name": "Zürich", "inhabitants": 7}


def test_failures_are_strands_exceptions(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "ModelThrottledException"
    assert saw["failed"]["raised"] == "ModelErrorException"
    assert saw["too_long"]["raised"] == "ContextWindowOverflowException"


def test_a_stream_that_breaks_off_does_not_pass_for_whole(saw: Any) -> None:
    assert saw["broken_stream"]["raised"] == "EventStreamError"
