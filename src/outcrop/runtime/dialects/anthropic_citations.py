"""Citations, between Anthropic's five kinds of location and Converse's five."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from outcrop.wire.shapes.bedrock_runtime import (
    Citation,
    CitationLocation,
    CitationsDelta,
    CitationSourceContentDelta,
    DocumentCharLocation,
    DocumentChunkLocation,
    DocumentPageLocation,
    SearchResultLocation,
    WebLocation,
)


class AnthropicCitation(Struct, frozen=True):
    """Whatever its kind: each has some of these."""

    type: str
    cited_text: str | None = None
    title: str | None = None
    document_title: str | None = None
    source: str | None = None
    url: str | None = None
    document_index: int | None = None
    search_result_index: int | None = None
    start_char_index: int | None = None
    end_char_index: int | None = None
    start_page_number: int | None = None
    end_page_number: int | None = None
    start_block_index: int | None = None
    end_block_index: int | None = None


def delta(citation: AnthropicCitation) -> CitationsDelta:
    locate = _LOCATIONS.get(citation.type)
    quoted = citation.cited_text
    return CitationsDelta(
        title=citation.document_title or citation.title,
        source=citation.source,
        source_content=None if quoted is None else [CitationSourceContentDelta(text=quoted)],
        location=None if locate is None else locate(citation),
    )


def as_anthropic(citation: Citation) -> dict[str, Any] | None:
    """As a caller hands it back; None where it says nothing that Anthropic could take."""
    if citation.location is None:
        return None
    located = dict(_located(citation.location))
    if not located:
        return None
    texts = [part.text for part in citation.source_content or () if part.text is not None]
    titled = "document_title" if "document_index" in located else "title"
    members = {**located, titled: citation.title, "cited_text": "".join(texts)}
    if located["type"] == "search_result_location":
        members["source"] = citation.source
    return members


def _char(citation: AnthropicCitation) -> CitationLocation:
    return CitationLocation(
        document_char=DocumentCharLocation(
            document_index=citation.document_index,
            start=citation.start_char_index,
            end=citation.end_char_index,
        )
    )


def _page(citation: AnthropicCitation) -> CitationLocation:
    return CitationLocation(
        document_page=DocumentPageLocation(
            document_index=citation.document_index,
            start=citation.start_page_number,
            end=citation.end_page_number,
        )
    )


def _chunk(citation: AnthropicCitation) -> CitationLocation:
    return CitationLocation(
        document_chunk=DocumentChunkLocation(
            document_index=citation.document_index,
            start=citation.start_block_index,
            end=citation.end_block_index,
        )
    )


def _search_result(citation: AnthropicCitation) -> CitationLocation:
    return CitationLocation(
        search_result_location=SearchResultLocation(
            search_result_index=citation.search_result_index,
            start=citation.start_block_index,
            end=citation.end_block_index,
        )
    )


def _web(citation: AnthropicCitation) -> CitationLocation:
    return CitationLocation(web=WebLocation(url=citation.url))


_LOCATIONS: Mapping[str, Callable[[AnthropicCitation], CitationLocation]] = {
    "char_location": _char,
    "page_location": _page,
    "content_block_location": _chunk,
    "search_result_location": _search_result,
    "web_search_result_location": _web,
}

# Of each kind: what it is called there, the index of what is cited, and where that begins and ends.
_NAMES: Mapping[str, tuple[str, str, str, str]] = {
    "document_char": ("char_location", "document_index", "start_char_index", "end_char_index"),
    "document_page": ("page_location", "document_index", "start_page_number", "end_page_number"),
    "document_chunk": (
        "content_block_location",
        "document_index",
        "start_block_index",
        "end_block_index",
    ),
    "search_result_location": (
        "search_result_location",
        "search_result_index",
        "start_block_index",
        "end_block_index",
    ),
}


def _located(location: CitationLocation) -> Iterator[tuple[str, Any]]:
    """Not for the web: Converse has no room for the `encrypted_index` that has to go back."""
    for member, (kind, index, start, end) in _NAMES.items():
        place = getattr(location, member)
        if place is not None:
            yield "type", kind
            yield index, getattr(place, index)
            yield start, place.start
            yield end, place.end
