"""Cohere Embed: many texts in, a vector for each, in any of five number formats.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from outcrop.runtime.dialects.openai_embeddings import Vectors
from outcrop.runtime.families import quantization
from outcrop.runtime.families.embedding import Truncate, Wanted, takes_no_images
from outcrop.runtime.families.family import Invocation
from outcrop.runtime.families.schema import Schema, malformed
from outcrop.wire.errors import ValidationException

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary"]

_TextsV3 = Annotated[list[Annotated[str, Meta(max_length=2048)]], Meta(min_length=1, max_length=96)]
_TextsV4 = Annotated[list[str], Meta(min_length=1, max_length=96)]
_Types = Annotated[list[EmbeddingType], Meta(min_length=1)]


class _BodyV3(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input_type: Literal["search_document", "search_query", "classification", "clustering", "image"]
    texts: _TextsV3 | None = None
    images: list[str] | None = None
    truncate: Literal["NONE", "START", "END"] = "NONE"
    embedding_types: _Types | None = None


class _Text(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class _ImageUrl(Struct, frozen=True, tag_field="type", tag="image_url"):
    image_url: Any


class _Input(Struct, frozen=True, forbid_unknown_fields=True):
    content: Annotated[list[_Text | _ImageUrl], Meta(min_length=1)]


class _BodyV4(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input_type: Literal["search_document", "search_query", "classification", "clustering", "image"]
    texts: _TextsV4 | None = None
    images: list[str] | None = None
    inputs: Annotated[list[_Input], Meta(min_length=1, max_length=96)] | None = None
    truncate: Literal["NONE", "LEFT", "RIGHT"] = "NONE"
    embedding_types: _Types | None = None
    output_dimension: Literal[256, 512, 1024, 1536] = 1536
    max_tokens: Annotated[int, Meta(ge=1, le=128_000)] | None = None


_SCHEMA_V3 = Schema(_BodyV3)
_SCHEMA_V4 = Schema(_BodyV4)

_TRUNCATE: Mapping[str, Truncate] = {
    "NONE": "none",
    "START": "start",
    "END": "end",
    "LEFT": "start",
    "RIGHT": "end",
}

_QUANTIZE: Mapping[EmbeddingType, Callable[[Sequence[float]], Sequence[float]]] = {
    "float": lambda vector: vector,
    "int8": quantization.int8,
    "uint8": quantization.uint8,
    "binary": quantization.signed_packed_bits,
    "ubinary": quantization.packed_bits,
}


class CohereEmbedV3:
    def wanted(self, body: bytes) -> Wanted:
        asked = _SCHEMA_V3.decode(body)
        if asked.images is not None:
            raise takes_no_images()
        if asked.texts is None:
            raise malformed("#: required key [texts] not found")
        truncate = _TRUNCATE[asked.truncate]
        return Wanted(texts=tuple(asked.texts), dimensions=1024, truncate=truncate)

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:
        asked = _SCHEMA_V3.decode(invocation.body)
        return _response(vectors, invocation, asked.embedding_types, {"texts": asked.texts})

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        return _too_long(most_tokens, tokens)


class CohereEmbedV4:
    def wanted(self, body: bytes) -> Wanted:
        asked = _SCHEMA_V4.decode(body)
        _check_one_source(asked)
        return Wanted(
            texts=tuple(asked.texts or map(_fused, asked.inputs or ())),
            dimensions=asked.output_dimension,
            truncate=_TRUNCATE[asked.truncate],
            max_tokens=asked.max_tokens,
        )

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:
        asked = _SCHEMA_V4.decode(invocation.body)
        echo = {"texts": asked.texts} if asked.texts else {"inputs": asked.inputs}
        return _response(vectors, invocation, asked.embedding_types, echo)

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        return _too_long(most_tokens, tokens)


def _check_one_source(asked: _BodyV4) -> None:
    given = [value for value in (asked.texts, asked.images, asked.inputs) if value is not None]
    if asked.images is not None:
        raise takes_no_images()
    if len(given) != 1:
        raise malformed("#: exactly one of [texts], [images] and [inputs] is expected")


def _fused(entry: _Input) -> str:
    """What stands in one input becomes one vector."""
    if any(isinstance(part, _ImageUrl) for part in entry.content):
        raise takes_no_images()
    return "\n".join(part.text for part in entry.content if isinstance(part, _Text))


def _response(
    vectors: Vectors,
    invocation: Invocation,
    types: Sequence[EmbeddingType] | None,
    echo: Mapping[str, Any],
) -> bytes:
    """Members in alphabetical order, as Amazon sends them."""
    floats = types is None or set(types) == {"float"}
    embeddings = vectors.vectors if floats else _by_type(vectors, types or ())
    members = {
        "embeddings": embeddings,
        "id": invocation.invocation_id,
        "response_type": "embeddings_floats" if floats else "embeddings_by_type",
        **echo,
    }
    return msgspec.json.encode(dict(sorted(members.items())))


def _by_type(
    vectors: Vectors, types: Sequence[EmbeddingType]
) -> dict[EmbeddingType, list[Sequence[float]]]:
    return {kind: [_QUANTIZE[kind](vector) for vector in vectors.vectors] for kind in types}


def _too_long(most_tokens: int, tokens: int) -> ValidationException:
    return ValidationException(
        f"The model returned the following errors: too many tokens: a text has {tokens}, at most"
        f" {most_tokens} are allowed; set truncate to cut it"
    )
