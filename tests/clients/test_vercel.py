"""The unmodified Vercel AI SDK with @ai-sdk/amazon-bedrock."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import node_environment, seen
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "vercel"


@pytest.fixture(scope="module")
def saw(variables: Mapping[str, str]) -> Any:
    folder = node_environment("vercel", HERE)
    return seen(["node", "walk.mjs"], variables, folder)


def test_the_embedded_model_answers(saw: Any) -> None:
    answer = saw["embedded"]

    assert answer["text"]
    assert answer["usage"]["inputTokens"] > 0
    assert answer["usage"]["outputTokens"] > 0
    # From the headers x-amzn-requestid and Date.
    assert answer["id"]
    assert answer["timestamp"].endswith("Z")


def test_the_embedded_model_streams(saw: Any) -> None:
    assert len(saw["embedded_stream"]["texts"]) > 1
    assert saw["embedded_stream"]["usage"]["outputTokens"] > 0


def test_a_stream_is_read_to_its_end(saw: Any) -> None:
    assert "".join(saw["stream"]["texts"]) == GREETING
    assert len(saw["stream"]["texts"]) > 5
    assert saw["stream"]["finish"] == "stop"


def test_a_tool_is_called_and_its_result_is_read(saw: Any) -> None:
    assert saw["tool_loop"] == {
        "calls": [{"city": "Zürich"}],
        "finishes": ["tool-calls", "stop"],
        "text": "The tool says: rain in Zürich",
    }


def test_a_tools_input_arrives_in_fragments(saw: Any) -> None:
    assert len(saw["streamed_tool"]["fragments"]) > 2
    assert saw["streamed_tool"]["input"] == {"city": "Zürich"}
    assert saw["streamed_tool"]["text"] == "The tool says: rain in Zürich"


@pytest.mark.parametrize("scene", ["object", "output"])
def test_structured_output_becomes_an_object(saw: Any, scene: str) -> None:
    assert saw[scene] == {"name": "Zürich", "inhabitants": 7}


@pytest.mark.parametrize(
    ("scene", "status", "message"),
    [
        ("throttled", 429, "Too many requests, please wait before trying again."),
        ("failed", 424, "The request failed due to an error while processing the model."),
        ("too_long", 400, "Input is too long for requested model."),
    ],
)
def test_failures_are_api_call_errors(saw: Any, scene: str, status: int, message: str) -> None:
    assert saw[scene] == {"raised": "AI_APICallError", "message": message, "status": status}


def test_a_stream_that_breaks_off_ends_in_an_error(saw: Any) -> None:
    assert saw["broken_stream"]["texts"]
    assert "error occurred while streaming" in saw["broken_stream"]["error"]


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["embeddings"] == [1024, 1024]
