import json
from typing import Any

import pytest

from outcrop.runtime.dialects.dialect import ComplaintError
from outcrop.runtime.dialects.openai_embeddings import (
    EmbeddedEmbeddings,
    EmbeddingsDialect,
    OpenAiEmbeddings,
)

EMBEDDED = EmbeddedEmbeddings(most_tokens=512)


def asked(dialect: EmbeddingsDialect, **options: Any) -> tuple[str, Any]:
    options = {"dimensions": None, "normalize": True, **options}
    call = dialect.call(["a", (101, 7, 102)], "bge-m3", **options)
    return call.path, json.loads(call.body)


def answer(*vectors: list[Any], usage: Any = None, indexes: Any = None) -> bytes:
    numbered = zip(indexes or range(len(vectors)), vectors, strict=True)
    data = [{"index": index, "embedding": vector} for index, vector in numbered]
    return json.dumps({"data": data, **({} if usage is None else {"usage": usage})}).encode()


def test_a_request_holds_texts_or_tokens_and_says_no_more_than_it_must() -> None:
    assert asked(OpenAiEmbeddings()) == (
        "/embeddings",
        {"model": "bge-m3", "input": ["a", [101, 7, 102]]},
    )


def test_fewer_dimensions_are_asked_of_servers_and_lengths_of_the_embedded_engine() -> None:
    assert asked(OpenAiEmbeddings(), dimensions=256, normalize=False)[1]["dimensions"] == 256
    path, body = asked(EMBEDDED, dimensions=256, normalize=False)
    assert path == "/v1/embeddings"
    assert body == {"model": "bge-m3", "input": ["a", [101, 7, 102]], "embd_normalize": -1}
    assert "embd_normalize" not in asked(EMBEDDED)[1]


@pytest.mark.parametrize("dialect", [OpenAiEmbeddings(), EMBEDDED])
def test_vectors_come_in_the_order_of_the_texts(dialect: EmbeddingsDialect) -> None:
    body = answer([3, 4.5], [1.0, 2.0], usage={"prompt_tokens": 9}, indexes=[1, 0])

    found = dialect.vectors(body, 2)

    assert found.vectors == [[1.0, 2.0], [3.0, 4.5]]
    assert found.input_tokens == 9


def test_a_server_may_leave_usage_out() -> None:
    assert OpenAiEmbeddings().vectors(answer([1.0]), 1).input_tokens is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b'{"data":[]}',
        answer([1.0], [2.0]),
        answer([1.0], indexes=[1]),
        answer([]),
        answer([None]),
        answer(["a"]),
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_an_answer_without_a_vector_for_each_text_is_the_servers_fault(body: bytes) -> None:
    with pytest.raises(ComplaintError) as caught:
        OpenAiEmbeddings().vectors(body, 1)

    assert caught.value.complaint.status == 502


def test_vectors_of_one_answer_have_the_same_dimensions() -> None:
    with pytest.raises(ComplaintError, match=r"embeddings of \[1, 2\] dimensions"):
        OpenAiEmbeddings().vectors(answer([1.0], [1.0, 2.0]), 2)


def test_what_the_engine_says_of_a_long_text_is_understood() -> None:
    body = b'{"error":{"code":500,"message":"input (602 tokens) is too large to process."}}'

    assert EMBEDDED.complaint(500, body).input_too_long
    assert not EMBEDDED.complaint(500, b'{"error":{"message":"out of memory"}}').input_too_long


def test_the_engine_tells_the_tokens_of_a_text() -> None:
    tokenizer = EMBEDDED.tokenizer
    call = tokenizer.call("hello")

    assert call.path == "/tokenize"
    assert json.loads(call.body) == {"content": "hello", "add_special": True}
    assert tokenizer.tokens(b'{"tokens":[101,7592,102]}') == (101, 7592, 102)
    for rubbish in (b'{"tokens":"no"}', b'{"x":' + b"[" * 100_000):
        with pytest.raises(ComplaintError):
            tokenizer.tokens(rubbish)
