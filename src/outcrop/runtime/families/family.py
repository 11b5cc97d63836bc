"""What every family is: its vendor's own bodies on one side, Converse on the other, pure."""

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from outcrop.runtime.dialects.dialect import Asked, ModelEvent
from outcrop.wire.shapes.bedrock_runtime import ContentBlock, StopReason, TokenUsage

METRICS = "amazon-bedrock-invocationMetrics"
"""The key under which the last chunk of every stream carries them."""


class Invocation(Struct, frozen=True, kw_only=True):
    """One call: what its answer tells besides what the model said."""

    model_id: str
    """As the caller wrote it."""
    foundation_model_id: str
    """Of a custom model, its base model's."""
    body: bytes
    """The caller's, which `asked` has found sound."""
    invocation_id: str
    """Letters and digits by chance, for the ids that answers carry."""
    created: int
    """Seconds since 1970."""


class Answer(Struct, frozen=True, kw_only=True):
    """All that the model said."""

    content: list[ContentBlock]
    stop_reason: StopReason
    stop_sequence: str | None = None
    """The one it met, where the model server tells."""
    usage: TokenUsage


class Metrics(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How much an invocation used, and how long it took, in milliseconds."""

    input_token_count: int
    output_token_count: int
    invocation_latency: int
    first_byte_latency: int
    cache_read_input_token_count: int | None = None
    cache_write_input_token_count: int | None = None


class Writer(Protocol):
    """Writes one answer as chunks of the family's own JSON."""

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        """Usage comes last, after the message has stopped."""
        ...

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        """After usage. The last chunk there is carries the metrics."""
        ...


class Family(Protocol):
    def asked(self, body: bytes, model_id: str, *, streaming: bool) -> Asked:
        """Raises ValidationException, in Amazon's words for a body that breaks the schema."""
        ...

    def response(self, answer: Answer, invocation: Invocation) -> bytes: ...

    def writer(self, invocation: Invocation) -> Writer: ...
