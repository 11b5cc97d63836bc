"""The unmodified AWS SDK for JavaScript: the runtime over HTTP/2 with prior knowledge."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import node_environment, outside, seen
from tests.outcrop_process import OutcropProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def walked(server: OutcropProcess, home: Path) -> Any:
    """What tests/clients/javascript/walk.mjs saw."""
    folder = node_environment("javascript", HERE)
    return seen(["node", "walk.mjs"], outside(server.environment(), home), folder)


def test_the_paginators_see_every_profile(walked: Any) -> None:
    assert walked["profiles"] > 50
    assert walked["provisioned"] == 0


def test_converse_answers_over_http2(walked: Any) -> None:
    assert walked["protocol"] == "NodeHttp2Handler"
    assert walked["answer"]
    assert walked["usage"]["inputTokens"] > 0
    assert (
        walked["usage"]["totalTokens"]
        == walked["usage"]["inputTokens"] + walked["usage"]["outputTokens"]
    )


def test_converse_stream_goes_on_to_its_end_after_goaway(walked: Any) -> None:
    assert walked["events"][0] == "messageStart"
    assert walked["events"][-2:] == ["messageStop", "metadata"]
    assert walked["text"]


def test_a_refusal_arrives_as_the_sdks_own_exception(walked: Any) -> None:
    assert walked["refusal"] == {
        "name": "ValidationException",
        "message": "The provided model identifier is invalid.",
    }
