"""The unmodified AWS SDK for JavaScript over HTTP/2: tools, native bodies, failures in a stream."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import node_environment, seen
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def saw(variables: Mapping[str, str]) -> Any:
    folder = node_environment("javascript", HERE)
    return seen(["node", "tools.mjs"], variables, folder)


def test_a_tools_input_arrives_in_fragments(saw: Any) -> None:
    assert len(saw["fragments"]) > 2
    assert json.loads("".join(saw["fragments"])) == {"city": "Zürich"}
    assert saw["stopReason"] == "tool_use"


def test_a_native_body_is_answered_natively(saw: Any) -> None:
    assert saw["message"]["content"] == [{"type": "text", "text": GREETING}]


def test_a_native_stream_is_read_to_its_end(saw: Any) -> None:
    assert saw["chunks"][0] == "message_start"
    assert saw["chunks"][-2:] == ["message_delta", "message_stop"]
    assert saw["chunks"].count("content_block_delta") > 5


def test_a_stream_that_breaks_off_raises_the_sdks_exception(saw: Any) -> None:
    assert saw["broken"]["name"] == "ModelStreamErrorException"


def test_failures_are_the_sdks_exceptions(saw: Any) -> None:
    assert saw["refusals"] == {
        "Answer 429.": {"name": "ThrottlingException", "status": 429},
        "Answer 500.": {"name": "ModelErrorException", "status": 424},
        "Answer too long.": {"name": "ValidationException", "status": 400},
    }


def test_texts_become_vectors(saw: Any) -> None:
    assert saw["embeddings"] == [1024, 1024]


def test_tokens_are_counted(saw: Any) -> None:
    assert saw["inputTokens"] == 11
