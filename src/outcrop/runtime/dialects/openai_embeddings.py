"""Texts to vectors, by the embeddings API that OpenAI made and most model servers have; pure."""

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Call, Complaint, ComplaintError
from outcrop.runtime.dialects.openai_complaint import complaint

Passage = str | tuple[int, ...]
"""A text, or its tokens where they had to be counted."""

_HEADERS = {"accept": "application/json"}
# llama.cpp says so with status 500.
_TOO_LARGE = re.compile(rb"input \(\d+ tokens\) is too large")


class Vectors(Struct, frozen=True):
    """One for each passage, in their order."""

    vectors: list[list[float]]
    input_tokens: int | None
    """Of all passages; None where the server does not say."""


class Tokenizer(Protocol):
    """Where a server tells the tokens of a text, so that one can be cut as its model reads it."""

    @property
    def most_tokens(self) -> int:
        """More are refused."""
        ...

    def call(self, text: str) -> Call: ...

    def tokens(self, body: bytes) -> tuple[int, ...]:
        """The first and the last are marks that every text has."""
        ...


class EmbeddingsDialect(Protocol):
    @property
    def tokenizer(self) -> Tokenizer | None: ...

    @property
    def shortens(self) -> bool:
        """Whether its models may be asked for fewer dimensions than they have."""
        ...

    def call(
        self,
        passages: Sequence[Passage],
        served_as: str,
        *,
        dimensions: int | None,
        normalize: bool,
    ) -> Call: ...

    def vectors(self, body: bytes, count: int) -> Vectors:
        """Raises ComplaintError if they are not `count`."""
        ...

    def complaint(self, status: int, body: bytes) -> Complaint: ...


class OpenAiEmbeddings:
    """Any server; whether vectors are of unit length is its own business."""

    tokenizer = None
    shortens = True

    def call(
        self,
        passages: Sequence[Passage],
        served_as: str,
        *,
        dimensions: int | None,
        normalize: bool,  # noqa: ARG002 - nothing in this API asks for it
    ) -> Call:
        request = _Request(model=served_as, input=passages, dimensions=dimensions)
        return Call("/embeddings", msgspec.json.encode(request), _HEADERS)

    def vectors(self, body: bytes, count: int) -> Vectors:
        return _vectors(body, count)

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


class EmbeddedEmbeddings:
    """llama.cpp as Outcrop runs it."""

    shortens = False

    def __init__(self, *, most_tokens: int) -> None:
        self.tokenizer = EmbeddedTokenizer(most_tokens)

    def call(
        self,
        passages: Sequence[Passage],
        served_as: str,
        *,
        dimensions: int | None,  # noqa: ARG002 - the engine has no say in it
        normalize: bool,
    ) -> Call:
        # 2 is Euclid's norm, -1 none.
        norm = None if normalize else -1
        request = _Request(model=served_as, input=passages, embd_normalize=norm)
        return Call("/v1/embeddings", msgspec.json.encode(request), _HEADERS)

    def vectors(self, body: bytes, count: int) -> Vectors:
        return _vectors(body, count)

    def complaint(self, status: int, body: bytes) -> Complaint:
        if _TOO_LARGE.search(body):
            return Complaint(400, complaint(status, body).message, input_too_long=True)
        return complaint(status, body)


class EmbeddedTokenizer:
    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens

    def call(self, text: str) -> Call:
        body = msgspec.json.encode({"content": text, "add_special": True})
        return Call("/tokenize", body, _HEADERS)

    def tokens(self, body: bytes) -> tuple[int, ...]:
        try:
            return msgspec.json.decode(body, type=_Tokens).tokens
        except BAD_JSON as error:
            raise ComplaintError(Complaint(502, f"no tokens: {error}")) from error


class _Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    model: str
    input: Sequence[Passage]
    dimensions: int | None = None
    embd_normalize: int | None = None


class _Embedding(Struct, frozen=True):
    embedding: list[float]
    index: int


class _Usage(Struct, frozen=True):
    prompt_tokens: int


class _Answer(Struct, frozen=True):
    data: list[_Embedding]
    usage: _Usage | None = None


class _Tokens(Struct, frozen=True):
    tokens: tuple[int, ...]


def _vectors(body: bytes, count: int) -> Vectors:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except BAD_JSON as error:
        raise ComplaintError(Complaint(502, f"no embeddings: {error}")) from error
    in_order = sorted(answer.data, key=lambda found: found.index)
    if [found.index for found in in_order] != list(range(count)):
        raise ComplaintError(Complaint(502, f"{len(in_order)} embeddings for {count} texts"))
    sizes = {len(found.embedding) for found in in_order}
    if len(sizes) > 1 or 0 in sizes:
        raise ComplaintError(Complaint(502, f"embeddings of {sorted(sizes)} dimensions"))
    return Vectors(
        vectors=[found.embedding for found in in_order],
        input_tokens=answer.usage.prompt_tokens if answer.usage else None,
    )
