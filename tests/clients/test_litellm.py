"""The unmodified litellm: converse, invoke and embeddings."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_litellm")


@pytest.mark.parametrize("scene", ["embedded", "embedded_invoke"])
def test_the_embedded_model_answers(saw: Any, scene: str) -> None:
    assert saw[scene]["text"]
    assert saw[scene]["finish_reason"] in {"stop", "length"}
    assert saw[scene]["usage"]["prompt"] > 0
    assert saw[scene]["usage"]["completion"] > 0


@pytest.mark.parametrize("scene", ["embedded_stream", "embedded_invoke_stream"])
def test_the_embedded_model_streams(saw: Any, scene: str) -> None:
    assert len(saw[scene]["texts"]) > 1
    assert saw[scene]["prompt"] > 0
    assert saw[scene]["completion"] > 0


@pytest.mark.parametrize("scene", ["stream", "invoke_stream"])
def test_a_stream_is_read_to_its_end(saw: Any, scene: str) -> None:
    assert "".join(saw[scene]["texts"]) == GREETING
    assert len(saw[scene]["texts"]) > 5
    assert saw[scene]["prompt"] == 11
    assert saw[scene]["completion"] == 7


def test_an_application_profile_answers(saw: Any) -> None:
    assert saw["application_profile"] == GREETING


@pytest.mark.parametrize("scene", ["tool_loop", "invoke_tool_loop"])
def test_a_tool_is_called_and_its_result_is_read(saw: Any, scene: str) -> None:
    assert saw[scene] == {
        "name": "get_weather",
        "arguments": {"city": "Zürich"},
        "finish_reason": "tool_calls",
        "text": "The tool says: rain",
    }


@pytest.mark.parametrize("scene", ["streamed_tool", "invoke_streamed_tool"])
def test_a_tools_input_arrives_in_fragments(saw: Any, scene: str) -> None:
    assert saw[scene]["arguments"] == {"city": "Zürich"}
    assert saw[scene]["parts"] > 2


def test_a_json_schema_is_kept_to(saw: Any) -> None:
    assert saw["json_schema"] == {"name": "Zürich", "inhabitants": 7}


def test_failures_are_litellms_exceptions(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "RateLimitError"
    assert saw["invoke_throttled"]["raised"] == "RateLimitError"
    assert saw["too_long"]["raised"] == "ContextWindowExceededError"
    # It has no exception for status 424: the body tells.
    assert saw["failed"]["raised"] == "BadRequestError"
    assert '"originalStatusCode":500' in saw["failed"]["message"]


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["titan_embeddings"] == [1024, 1024]
    assert saw["cohere_embeddings"] == [1024, 1024]


def test_a_stream_that_breaks_off_does_not_pass_for_whole(saw: Any) -> None:
    assert saw["broken_stream"]["raised"] == "BadRequestError"
