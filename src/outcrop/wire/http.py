"""A request and a response as plain records: what the edge hands in and takes back."""

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct


class HttpRequest(Struct, frozen=True, kw_only=True, gc=False):
    """One request, exactly as it was received: signatures are checked over these very bytes."""

    method: str
    raw_path: str
    """The path before `?`, its percent-encoding untouched."""
    query_string: str = ""
    """What follows `?`, its percent-encoding untouched; empty when there is none."""
    headers: dict[str, str]
    """Lower-case names; values decoded as latin-1; repeated headers joined by a comma, in order."""
    body: bytes = b""
    source_address: str = ""
    """The client's IP address; of a client behind a trusted proxy, as that proxy tells it."""


class Body(Protocol):
    """A body that arrives over time. The edge closes it whether or not it was read to its end."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class HttpResponse(Struct, kw_only=True):
    status: int
    headers: dict[str, str]
    """Names as they go out. `content-length` is the edge's business."""
    body: bytes | Body = b""
