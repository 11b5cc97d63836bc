import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.conversation import check
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse
from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.families.anthropic import Anthropic
from tests.runtime.families.native import asked
from tests.runtime.requests import converse_request

BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9}


def titled(*titles: str | None) -> Any:
    source = {"type": "text", "media_type": "text/plain", "data": "x"}
    given = ({"title": title} if title is not None else {} for title in titles)
    blocks: list[Any] = [{"type": "document", "source": source, **title} for title in given]
    content = [{"type": "text", "text": "?"}, *blocks]
    request: Asked = asked(
        Anthropic(), {**BODY, "messages": [{"role": "user", "content": content}]}
    )
    return request


def names(request: Asked) -> list[str]:
    """As Amazon is sent them; it would take the request."""
    body = json.loads(BedrockConverse().call(request, "m", Capabilities(documents=True)).body)
    check(converse_request(**body))
    blocks = body["messages"][0]["content"]
    return [block["document"]["name"] for block in blocks if "document" in block]


@pytest.mark.parametrize(
    ("titles", "wanted"),
    [
        (["report (1)"], ["report (1)"]),
        (["report.pdf"], ["report pdf"]),
        (["a  b/\u00fc"], ["a b"]),
        ([None, None], ["document", "document (2)"]),
        (["\u00fc", "document"], ["document", "document (2)"]),
        (["a.b", "a b", "a b (2)"], ["a b", "a b (2)", "a b (2) (2)"]),
        ([""], ["document"]),
        (["x" * 300], ["x" * 200]),
    ],
)
def test_documents_of_native_bodies_get_names_that_amazon_takes(
    titles: list[str | None], wanted: list[str]
) -> None:
    assert names(titled(*titles)) == wanted


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_titles_become_names_that_amazon_takes(titles: list[str]) -> None:
    assert len(set(names(titled(*titles)))) == len(titles)
