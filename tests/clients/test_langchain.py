"""The unmodified langchain-aws, on the embedded model and a scripted one."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_langchain")


@pytest.mark.parametrize("scene", ["embedded", "embedded_native", "application_profile"])
def test_the_embedded_model_answers(saw: Any, scene: str) -> None:
    assert saw[scene]["text"]
    assert saw[scene]["usage"]["input_tokens"] > 0
    assert saw[scene]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("scene", ["embedded_stream", "embedded_native_stream"])
def test_the_embedded_model_streams(saw: Any, scene: str) -> None:
    assert len(saw[scene]["texts"]) > 1
    assert saw[scene]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("scene", ["stream", "native_stream"])
def test_a_stream_is_read_to_its_end(saw: Any, scene: str) -> None:
    assert "".join(saw[scene]["texts"]) == GREETING
    assert len(saw[scene]["texts"]) > 5
    assert saw[scene]["usage"]["input_tokens"] == 11
    assert saw[scene]["usage"]["output_tokens"] == 7


@pytest.mark.parametrize("scene", ["tool_loop", "native_tool_loop"])
def test_a_tool_is_called_and_its_result_is_read(saw: Any, scene: str) -> None:
    assert saw[scene]["call"]["name"] == "get_weather"
    assert saw[scene]["call"]["args"] == {"city": "Zürich"}
    assert saw[scene]["text"] == "The tool says: rain in Zürich"


def test_two_tools_are_called_at_once(saw: Any) -> None:
    assert saw["parallel_tools"] == ["get_weather", "get_time"]


def test_a_tools_input_arrives_in_fragments(saw: Any) -> None:
    assert saw["streamed_tool"]["call"]["args"] == {"city": "Zürich"}
    assert saw["streamed_tool"]["fragments"] > 2


@pytest.mark.parametrize("scene", ["structured", "json_schema"])
def test_structured_output_becomes_a_record(saw: Any, scene: str) -> None:
    assert saw[scene] == {"name": "Zürich", "inhabitants": 7}


def test_failures_are_botocores_exceptions(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "ThrottlingException"
    assert "Too many requests, please wait before trying again." in saw["throttled"]["message"]
    assert saw["failed"]["raised"] == "ModelErrorException"
    assert saw["too_long"]["raised"] == "ValidationException"
    assert "Input is too long for requested model." in saw["too_long"]["message"]


def test_a_stream_that_breaks_off_is_an_event_stream_error(saw: Any) -> None:
    assert saw["broken_stream"]["raised"] == "EventStreamError"
    assert "modelStreamErrorException" in saw["broken_stream"]["message"]


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["embeddings"] == [1024, 1024]
