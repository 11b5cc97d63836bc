"""HTTP/1.1 on one connection: requests in, answers out in their order, limits on size and time."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from outcrop.server.edge import ClientGoneError, Edge, stopping
from outcrop.server.http1_text import CONTINUE, END_OF_CHUNKS, chunk_of, head_text
from outcrop.server.refusals import error_response, new_request_id
from outcrop.wire.errors import AwsError, InternalServerException, MalformedHttpRequestException
from outcrop.wire.http import Body, HttpRequest, HttpResponse

# What a client may have sent ahead of its answers before it is read no further.
PIPELINED = 8

# Of what a stream has ready and the kernel does not take yet.
WRITE_BUFFER_BYTES = 64 * 1024

# A client that is still sending reads a refusal only when it is done: so much is thrown away first.
LINGER_BYTES = 64 * 1024 * 1024
LINGER_S = 5.0

_log = logging.getLogger(__name__)


class Arriving(Enum):
    """What the next byte belongs to."""

    HEAD = auto()
    BODY = auto()
    REFUSED = auto()
    """Of a request that is refused already: thrown away."""
    NOTHING = auto()
    """What follows cannot be understood, or is not wanted."""


class Asked(NamedTuple):
    """A request, or why it is refused; and whether another may follow on the connection."""

    request: HttpRequest | AwsError
    keep_alive: bool
    chunked: bool
    """Whether the client understands a chunked answer: HTTP/1.0 does not."""


class Http1Connection(asyncio.Protocol):
    def __init__(self, edge: Edge, *, closed: Callable[["Http1Connection"], None]) -> None:
        self._edge = edge
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        self._asked: deque[Asked] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._writable = True
        self._answering = False
        self._started = False
        self._gone = False
        self._last = False
        self._begin()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._task = self._edge.tasks.create_task(self._answer_all())

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if self._answering:
            self._task.cancel()
        self._wake()
        self._forget_body()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._arriving is Arriving.NOTHING:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # To another protocol, or CONNECT: nobody who speaks to Bedrock does.
            self._refuse(MalformedHttpRequestException("The connection cannot be upgraded"))
            self._arriving = Arriving.NOTHING
        except HttpParserError as error:
            self._refuse(MalformedHttpRequestException(f"The request is not HTTP/1.1: {error}"))
            self._arriving = Arriving.NOTHING
