"""HTTP/1.1 requests out of bytes, however they are cut; refused as soon as they are too large."""

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from outcrop.server.edge import Edge
from outcrop.wire.errors import AwsError, MalformedHttpRequestException
from outcrop.wire.http import HttpRequest

# A client that is still sending reads a refusal only when it is done: so much is thrown away first.
LINGER_BYTES = 64 * 1024 * 1024


class Arriving(Enum):
    """What the next byte belongs to."""

    HEAD = auto()
    BODY = auto()
    REFUSED = auto()
    """A request that is refused already: thrown away."""
    NOTHING = auto()
    """Whatever comes is not wanted, or cannot be understood any more."""


class Asked(NamedTuple):
    """A request, or why it is refused; and what its answer must look like."""

    request: HttpRequest | AwsError
    keep_alive: bool
    http_1_0: bool = False


class Http1Reader:
    def __init__(self, edge: Edge, *, asked: Callable[[Asked], None], go_on: Callable[[], None]) -> None:
        """`asked` is given each request; `go_on` is called when the client waits for 100 Continue."""
        self._edge = edge
        self._asked = asked
        self._go_on = go_on
        self._parser = HttpRequestParser(self)
        self._head_bytes = 0
        self._body_bytes = 0
        self._begin()

    @property
    def idle(self) -> bool:
        """Between two requests."""
        return self.arriving is Arriving.HEAD and not self._head_bytes

    def feed(self, data: bytes) -> None:
        if self.arriving is Arriving.NOTHING:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except HttpParserError as error:
            self.refuse(MalformedHttpRequestException(f"The request is not HTTP/1.1: {error}"))
            self.arriving = Arriving.NOTHING
        if self.arriving is Arriving.HEAD and self._in_head:
            self._bound_head(len(data))

    def refuse(self, refusal: AwsError) -> None:
        """No request of the connection after this one is read."""
        self.forget_body()
        # Who waits for leave to send a body will not send it now.
        waits = "expect" in self._headers
        self.arriving = Arriving.NOTHING if waits else Arriving.REFUSED
        self._asked(Asked(refusal, keep_alive=False))

    def forget_body(self) -> None:
        self._edge.buffered_bytes -= self._body_bytes
        self._body_bytes = 0
        self._body.clear()

    # What the parser tells, in this order.

    def on_message_begin(self) -> None:
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip()
        headers = self._headers
        headers[key] = f"{headers[key]},{text}" if key in headers else text

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self.arriving is not Arriving.HEAD:
            return
        self.arriving = Arriving.BODY
        length = self._headers.get("content-length")
        try:
            self._edge.admit_head(uri_bytes=len(self._url), header_bytes=self._header_bytes)
            if length is not None:
                self._edge.admit_body(int(length))
        except AwsError as refusal:
            self.refuse(refusal)
            return
        if "expect" in self._headers:
            self._go_on()

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self.arriving is not Arriving.BODY:
            self._body_bytes...
