"""Amazon Titan Embeddings: one text in, one vector out.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from outcrop.runtime.dialects.openai_embeddings import Vectors
from outcrop.runtime.families import quantization
from outcrop.runtime.families.embedding import Wanted, takes_no_images
from outcrop.runtime.families.family import Invocation
from outcrop.runtime.families.schema import Schema, malformed
from outcrop.wire.errors import ValidationException

_MOST_CHARACTERS = 50_000


class _Body(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class _BodyV1(_Body, frozen=True):
    input_text: str


class _BodyV2(_Body, frozen=True, kw_only=True):
    input_text: str
    dimensions: int | None = None
    normalize: bool = True
    embedding_types: Annotated[list[Literal["float", "binary"]], Meta(min_length=1)] = (
        msgspec.field(default_factory=lambda: ["float"])
    )


class _EmbeddingConfig(_Body, frozen=True):
    output_embedding_length: Literal[256, 384, 1024] = 1024


class _BodyImage(_Body, frozen=True, kw_only=True):
    input_text: str | None = None
    input_image: str | None = None
    embedding_config: _EmbeddingConfig = _EmbeddingConfig()


_SCHEMA_V1 = Schema(_BodyV1)
_SCHEMA_V2 = Schema(_BodyV2)
_SCHEMA_IMAGE = Schema(_BodyImage)


class TitanEmbedV1:
    """Its vectors are not of unit length: they are as the model made them."""

    def wanted(self, body: bytes) -> Wanted:
        text = _checked(_SCHEMA_V1.decode(body).input_text)
        return Wanted(texts=(text,), dimensions=1536, normalize=False)

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:  # noqa: ARG002
        return _response(vectors, embedding=vectors.vectors[0])

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        return _too_long(most_tokens, tokens)


class TitanEmbedV2:
    def __init__(self, *dimensions: int) -> None:
        """The first is the default."""
        self._dimensions = dimensions

    def wanted(self, body: bytes) -> Wanted:
        asked = _SCHEMA_V2.decode(body)
        dimensions = self._dimensions[0] if asked.dimensions is None else asked.dimensions
        if dimensions not in self._dimensions:
            raise malformed(f"#/dimensions: {dimensions} is not a valid enum value")
        text = _checked(asked.input_text)
        return Wanted(texts=(text,), dimensions=dimensions, normalize=asked.normalize)

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:
        """`embedding` is always of floats, and only there if floats were asked for."""
        types = _SCHEMA_V2.decode(invocation.body).embedding_types
        (vector,) = vectors.vectors
        by_type: dict[str, list[float] | list[int]] = {}
        if "binary" in types:
            by_type["binary"] = quantization.bits(vector)
        if "float" in types:
            by_type["float"] = vector
            return _response(vectors, embedding=vector, embeddingsByType=by_type)
        return _response(vectors, embeddingsByType=by_type)

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        return _too_long(most_tokens, tokens)


class TitanEmbedImage:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html."""

    def wanted(self, body: bytes) -> Wanted:
        asked = _SCHEMA_IMAGE.decode(body)
        if asked.input_image is not None:
            raise takes_no_images()
        if asked.input_text is None:
            raise malformed("#: required key [inputText] not found")
        text = _checked(asked.input_text)
        return Wanted(texts=(text,), dimensions=asked.embedding_config.output_embedding_length)

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:  # noqa: ARG002
        return _response(vectors, embedding=vectors.vectors[0], message=None)

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        return _too_long(most_tokens, tokens)


def _checked(text: str) -> str:
    # Without the pointer, as seen: "Malformed input request: expected maxLength: 50000, actual: …".
    if not text:
        raise malformed("expected minLength: 1, actual: 0")
    if len(text) > _MOST_CHARACTERS:
        raise malformed(f"expected maxLength: {_MOST_CHARACTERS}, actual: {len(text)}")
    return text


def _response(vectors: Vectors, **members: Any) -> bytes:
    if vectors.input_tokens is not None:
        members["inputTextTokenCount"] = vectors.input_tokens
    return msgspec.json.encode(members)


def _too_long(most_tokens: int, tokens: int) -> ValidationException:
    return ValidationException(
        f"400 Bad Request: Too many input tokens. Max input tokens: {most_tokens}, request input"
        f" token count: {tokens} "
    )
