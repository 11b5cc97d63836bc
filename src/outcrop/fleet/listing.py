"""What a server says of the models it has, when `/models` is asked: pure."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field


class NoListingError(Exception):
    """The answer is no list of models."""


class ListedModel(Struct, frozen=True, kw_only=True):
    """One model on the server. None is what the server does not say."""

    name: str
    context_tokens: int | None = None
    """At most: a server may run the model with less."""
    tools: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None


def listed_models(body: bytes) -> tuple[ListedModel, ...]:
    """OpenAI's list, with what vLLM, SGLang, llama.cpp and OpenRouter add to it."""
    try:
        listing = msgspec.json.decode(body, type=_Listing)
        rows = [_row(model) for model in listing.data or ()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoListingError(f"/models does not answer with a list of models: {error}") from error
    reads_images = dict(_llama_cpp_images(listing))
    return tuple(_listed(row, reads_images=reads_images.get(row.id)) for row in rows)


class _Meta(Struct, frozen=True):
    """llama.cpp (tools/server/README.md, GET /v1/models)."""

    n_ctx_train: int | None = None


class _Architecture(Struct, frozen=True):
    """OpenRouter (https://openrouter.ai/docs/api-reference/list-available-models)."""

    input_modalities: tuple[str, ...] | None = None


class _Row(Struct, frozen=True):
    id: str
    max_model_len: int | None = None
    """vLLM and SGLang (ModelCard)."""
    context_length: int | None = None
    meta: _Meta | None = None
    architecture: _Architecture | None = None
    supported_parameters: tuple[str, ...] | None = None


class _Named(Struct, frozen=True):
    id: str


class _Listing(Struct, frozen=True):
    data: tuple[dict[str, Any], ...] | None
    """Ollama without a model: null."""
    models: Any = field(default=())
    """llama.cpp lists its models a second time, as Ollama does, and only there with abilities."""


def _row(model: dict[str, Any]) -> _Row:
    """What a server adds in a shape of its own says nothing; without a name there is no model."""
    try:
        return msgspec.convert(model, _Row)
    except msgspec.ValidationError:
        return _Row(msgspec.convert(model, _Named).id)


def _listed(row: _Row, *, reads_images: bool | None) -> ListedModel:
    trained = row.meta.n_ctx_train if row.meta else None
    takes = row.supported_parameters
    if row.architecture is not None and row.architecture.input_modalities is not None:
        reads_images = "image" in row.architecture.input_modalities
    return ListedModel(
        name=row.id,
        context_tokens=row.max_model_len or row.context_length or trained,
        tools=None if takes is None else "tools" in takes,
        images=reads_images,
        json_schema=None if takes is None else "structured_outputs" in takes,
        reasoning=None if takes is None else "reasoning" in takes,
    )


class _LlamaCppRow(Struct, frozen=True):
    name: str
    capabilities: tuple[str, ...]


def _llama_cpp_images(listing: _Listing) -> Iterator[tuple[str, bool]]:
    try:
        rows = msgspec.convert(listing.models, tuple[_LlamaCppRow, ...])
    except msgspec.ValidationError:
        return
    for row in rows:
        yield row.name, "multimodal" in row.capabilities
