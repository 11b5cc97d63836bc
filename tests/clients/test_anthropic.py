"""The unmodified anthropic[bedrock]: native bodies, on the embedded model and a scripted one."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_anthropic")


def test_the_embedded_model_answers_as_a_message(saw: Any) -> None:
    message = saw["embedded"]

    assert message["type"] == "message"
    assert message["role"] == "assistant"
    assert message["content"][0]["text"]
    assert message["usage"]["input_tokens"] > 0
    assert message["usage"]["output_tokens"] > 0


def test_the_embedded_model_streams(saw: Any) -> None:
    streamed = saw["embedded_stream"]

    assert len(streamed["texts"]) > 1
    assert "".join(streamed["texts"]) == streamed["final"]["content"][0]["text"]
    assert streamed["final"]["usage"]["output_tokens"] > 0


def test_a_stream_is_read_to_its_end(saw: Any) -> None:
    streamed = saw["stream"]

    assert "".join(streamed["texts"]) == GREETING
    assert len(streamed["texts"]) > 5
    assert streamed["final"]["stop_reason"] == "end_turn"
    assert streamed["final"]["usage"]["input_tokens"] == 11
    assert streamed["final"]["usage"]["output_tokens"] == 7


def test_a_stream_has_anthropics_events_in_their_order(saw: Any) -> None:
    events = [event for event in saw["raw_stream_events"] if event != "ping"]

    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_an_application_profile_answers(saw: Any) -> None:
    assert saw["application_profile"] == GREETING


def test_a_tool_is_called_and_its_result_is_read(saw: Any) -> None:
    loop = saw["tool_loop"]

    assert loop["called"]["stop_reason"] == "tool_use"
    assert loop["called"]["content"][0]["name"] == "get_weather"
    assert loop["called"]["content"][0]["input"] == {"city": "Zürich"}
    assert loop["text"] == "The tool says: rain"
    assert loop["stop_reason"] == "end_turn"


def test_a_tools_input_arrives_in_fragments(saw: Any) -> None:
    assert len(saw["streamed_tool"]["parts"]) > 2
    assert saw["streamed_tool"]["input"] == {"city": "Zürich"}
    assert saw["streamed_tool"]["stop_reason"] == "tool_use"


def test_a_tool_can_be_forced(saw: Any) -> None:
    assert saw["forced_tool"] == {"city": "Zürich"}


def test_failures_are_the_clients_own(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "RateLimitError"
    assert "Too many requests" in saw["throttled"]["message"]
    assert saw["failed"]["raised"] == "APIStatusError"
    assert "Error code: 424" in saw["failed"]["message"]
    assert saw["too_long"]["raised"] == "BadRequestError"
    assert "Input is too long for requested model." in saw["too_long"]["message"]


def test_a_malformed_body_is_told_in_amazons_words(saw: Any) -> None:
    assert saw["malformed"]["status"] == 400
    assert saw["malformed"]["body"]["message"].startswith("Malformed input request: ")
    assert "max_tokens" in saw["malformed"]["body"]["message"]


def test_a_stream_that_breaks_off_does_not_pass_for_whole(saw: Any) -> None:
    assert saw["broken_stream"]["raised"]
