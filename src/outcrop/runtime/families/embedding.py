"""What a family of embedding models is: its vendor's bodies on one side, vectors on the other."""

from typing import Literal, Protocol

from msgspec import Struct

from outcrop.runtime.dialects.openai_embeddings import Vectors
from outcrop.runtime.families.family import Invocation
from outcrop.wire.errors import ValidationException

Truncate = Literal["none", "start", "end"]
"""What is left out of a text that is too long."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a body asks for."""

    texts: tuple[str, ...]
    dimensions: int
    normalize: bool = True
    """To unit length; otherwise a vector is as long as the model made it."""
    truncate: Truncate = "none"
    max_tokens: int | None = None
    """Of each text; without a number as many as the model reads."""


class EmbeddingFamily(Protocol):
    def wanted(self, body: bytes) -> Wanted:
        """Raises ValidationException, in Amazon's words for a body that breaks the schema."""
        ...

    def response(self, vectors: Vectors, invocation: Invocation) -> bytes:
        """The vectors have the dimensions that were asked for."""
        ...

    def too_long(self, most_tokens: int, tokens: int) -> ValidationException:
        """For a text that may not be cut."""
        ...


def takes_no_images() -> ValidationException:
    return ValidationException(
        "The model returned the following errors: this model embeds text, not images"
    )
