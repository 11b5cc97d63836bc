"""The unmodified pydantic-ai: an agent with a tool, structured output, counted tokens."""

from typing import Any

import pytest

from tests.clients.conftest import Walks
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_pydantic_ai")


def test_the_embedded_model_answers(saw: Any) -> None:
    assert saw["embedded"]["text"]
    assert saw["embedded"]["input"] > 0
    assert saw["embedded"]["output"] > 0


def test_the_embedded_model_streams(saw: Any) -> None:
    assert len(saw["embedded_stream"]) > 1


def test_a_stream_is_read_to_its_end(saw: Any) -> None:
    assert "".join(saw["stream"]) == GREETING
    assert len(saw["stream"]) > 5


def test_an_application_profile_answers(saw: Any) -> None:
    assert saw["application_profile"] == GREETING


def test_a_tool_is_called_and_its_result_is_read(saw: Any) -> None:
    assert saw["tool_loop"]["asked"] == ["Zürich"]
    assert saw["tool_loop"]["answer"] == {
        "text": "The tool says: rain in Zürich",
        "input": 22,
        "output": 14,
    }


@pytest.mark.parametrize("scene", ["structured", "native_structured", "structured_stream"])
def test_structured_output_becomes_a_record(saw: Any, scene: str) -> None:
    assert saw[scene] == {"name": "Zürich", "inhabitants": 7}


def test_tokens_are_counted_before_anything_is_asked(saw: Any) -> None:
    assert saw["counted_too_long"]["raised"] == "UsageLimitExceeded"


def test_a_tool_is_called_in_the_middle_of_a_stream(saw: Any) -> None:
    assert "".join(saw["streamed_tool"]) == "The tool says: rain in Zürich"
    assert len(saw["streamed_tool"]) > 2


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["embeddings"] == [[1024, 1024], [1024, 1024]]


def test_failures_are_pydantic_ais_exceptions(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "ModelRateLimitError"
    assert saw["failed"]["raised"] == "ModelHTTPError"
    assert "status_code: 424" in saw["failed"]["message"]
    assert saw["too_long"]["raised"] == "ModelContextWindowExceededError"


def test_a_stream_that_breaks_off_does_not_pass_for_whole(saw: Any) -> None:
    assert saw["broken_stream"]["raised"] == "ModelServerError"
