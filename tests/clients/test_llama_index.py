"""The unmodified llama-index-llms-bedrock-converse, on the embedded model and a scripted one."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_llama_index")


def test_the_embedded_model_answers(saw: Any) -> None:
    assert saw["embedded"]["text"]
    assert saw["embedded"]["raw"]["inputTokens"] > 0
    assert saw["embedded"]["raw"]["outputTokens"] > 0


def test_an_application_profile_answers(saw: Any) -> None:
    assert isinstance(saw["application_profile"], str)
    assert saw["application_profile"]


def test_the_embedded_model_streams(saw: Any) -> None:
    assert len([text for text in saw["embedded_stream"] if text]) > 1


def test_a_stream_is_read_to_its_end(saw: Any) -> None:
    assert "".join(saw["stream"]) == GREETING
    assert len(saw["stream"]) > 5


@pytest.mark.parametrize("scene", ["tool_call", "streamed_tool"])
def test_a_tool_is_called(saw: Any, scene: str) -> None:
    assert saw[scene] == [{"name": "get_weather", "arguments": {"city": "Zürich"}}]


def test_the_tool_that_was_called_is_run(saw: Any) -> None:
    assert saw["tool_loop"] == "rain in Zürich"


def test_structured_output_becomes_a_record(saw: Any) -> None:
    assert saw["structured"] == {"name": "Zürich", "inhabitants": 7}


def test_failures_are_botocores_exceptions(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "ThrottlingException"
    assert saw["failed"]["raised"] == "ModelErrorException"
    assert saw["too_long"]["raised"] == "ValidationException"
    assert "Input is too long for requested model." in saw["too_long"]["message"]


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["embeddings"] == [[1024, 1024], [1024, 1024]]


def test_a_stream_that_breaks_off_does_not_pass_for_whole(saw: Any) -> None:
    assert saw["broken_stream"]["raised"] == "EventStreamError"
