"""The unmodified instructor over boto3: a record out of a conversation."""

from typing import Any

import pytest

from tests.clients.conftest import Walks

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(walks: Walks) -> Any:
    return walks("with_instructor")


def test_the_embedded_model_is_held_to_the_records_schema(saw: Any) -> None:
    assert isinstance(saw["embedded"]["name"], str)
    assert isinstance(saw["embedded"]["inhabitants"], int)


def test_a_forced_tool_becomes_a_record(saw: Any) -> None:
    assert saw["by_tool"] == {"name": "Zürich", "inhabitants": 7}


def test_a_refusal_tells_amazons_words(saw: Any) -> None:
    assert saw["throttled"]["raised"] == "InstructorRetryException"
    assert "(ThrottlingException)" in saw["throttled"]["message"]
