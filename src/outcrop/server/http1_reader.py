"""HTTP/1.1 requests out of bytes, however they are cut; refused as soon as they are too large."""

from collections.abc import Callable, Mapping
from typing import Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
from msgspec import Struct

from outcrop.server.edge import Edge
from outcrop.wire.errors import AwsError, MalformedHttpRequestException
from outcrop.wire.http import HttpRequest

# A client that is still sending reads a refusal only when it is done: so much is thrown away first.
LINGER_BYTES = 64 * 1024 * 1024


# As most clients write them; a look-up is quicker than making a name anew for every request.
_NAMES = {
    name.encode(): name.lower()
    for usual in (
        *("Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Type"),
        *("Content-Length", "Authorization", "X-Amz-Date", "X-Amz-Security-Token"),
        *("X-Amz-Content-SHA256", "amz-sdk-invocation-id", "amz-sdk-request"),
    )
    for name in (usual, usual.lower())
}


# Asked for with every header: a member of an Enum takes nine times as long to name.
Arriving = Literal["head", "body", "refused", "nothing"]
"""What the next byte belongs to.

`refused`: to a request that is refused already, thrown away; `nothing`: whatever comes is not
wanted, or cannot be understood any more.
"""


class Asked(Struct, frozen=True):
    """A request, or why it is refused; and what its answer must look like."""

    request: HttpRequest | AwsError
    keep_alive: bool
    chunked: bool
    """Whether a body of unknown length may come in chunks: HTTP/1.0 knows none."""


class Http1Reader:
    def __init__(
        self,
        edge: Edge,
        *,
        peer: str = "",
        asked: Callable[[Asked], None],
        go_on: Callable[[], None],
    ) -> None:
        """`asked` is given each request, `go_on` called when a client waits for 100 Continue."""
        self._edge = edge
        self._peer = peer
        self._asked = asked
        self._go_on = go_on
        self._parser = HttpRequestParser(self)
        self._feed = self._parser.feed_data
        self._body = bytearray()
        self._body_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self.arriving: Arriving = "head"
        self._in_head = False
        self._header_bytes = 0
        self._uncounted = 0
        self._url = b""
        self._headers: dict[str, str] = {}

    @property
    def idle(self) -> bool:
        """Between two requests."""
        return self.arriving == "head" and not self._in_head

    def feed(self, data: bytes) -> None:
        if self.arriving == "nothing":
            return
        was_in_head = self._in_head
        try:
            self._feed(data)
        except HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except HttpParserError as error:
            self._stop(MalformedHttpRequestException(f"The request is not HTTP/1.1: {error}"))
        if was_in_head and self._in_head:
            self._bound_head(len(data))

    def refuse(self, refusal: AwsError) -> None:
        """No request after this one is read from the connection."""
        self.forget_body()
        # Who waits for leave to send a body does not send it now.
        waits = "expect" in self._headers
        self.arriving = "nothing" if waits else "refused"
        self._asked(Asked(refusal, keep_alive=False, chunked=False))

    def forget_body(self) -> None:
        self._edge.buffered_bytes -= self._body_bytes
        self._body_bytes = 0
        self._body.clear()

    # What the parser tells, in this order.

    def on_url(self, url: bytes) -> None:
        self._in_head = True
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Kept under its name in lower case; what comes twice is joined by a comma."""
        if self.arriving != "head":
            self._pass_over_trailer(len(name) + len(value))
            return
        self._header_bytes += len(name) + len(value)
        try:
            key = _NAMES[name]
        except KeyError:
            key = name.decode("latin-1").lower()
        text, headers = value.decode("latin-1").strip(), self._headers
        if key in headers:
            text = f"{headers[key]},{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.arriving != "head":
            return
        self.arriving = "body"
        try:
            self._admit(self._headers)
        except AwsError as refusal:
            self.refuse(refusal)
        else:
            if "expect" in self._headers:
                self._go_on()

    def _admit(self, headers: Mapping[str, str]) -> None:
        self._edge.admit_head(uri_bytes=len(self._url), header_bytes=self._header_bytes)
        length = headers.get("content-length")
        if length is not None:
            self._edge.admit_body(int(length))
        if "transfer-encoding" in headers and headers["transfer-encoding"].lower() != "chunked":
            # The parser lets `gzip, chunked` pass, and unpacks nothing.
            raise MalformedHttpRequestException("Transfer-Encoding may be chunked alone")
        host = headers.get("host")
        if "," in host if host is not None else self._is_http_1_1():
            # RFC 9112, 3.2; two of them were joined by a comma.
            raise MalformedHttpRequestException("The request must have one Host header")

    def _is_http_1_1(self) -> bool:
        return self._parser.get_http_version() == "1.1"

    def _is_http_1_0(self) -> bool:
        """Which knows no chunks: another server would end such a body elsewhere."""
        chunked = "transfer-encoding" in self._headers
        return self._parser.get_http_version() == "1.0" and not chunked

    def _pass_over_trailer(self, size: int) -> None:
        """What follows a body is no header of the request (RFC 9110, 6.5.1): it is only counted."""
        self._header_bytes += size
        try:
            self._edge.admit_head(uri_bytes=0, header_bytes=self._header_bytes)
        except AwsError as refusal:
            if self.arriving == "body":
                self.refuse(refusal)
            self.arriving = "nothing"

    def on_body(self, chunk: bytes) -> None:
        if self.arriving == "refused":
            self._throw_away(len(chunk))
            return
        self._body += chunk
        self._body_bytes += len(chunk)
        self._edge.buffered_bytes += len(chunk)
        try:
            self._edge.admit_body(self._body_bytes)
        except AwsError as refusal:
            self.refuse(refusal)

    def on_message_complete(self) -> None:
        if self.arriving != "body":
            self.arriving = "nothing"
        elif not self._parser.should_upgrade():
            self._complete(keep_alive=self._parser.should_keep_alive())

    def _complete(self, *, keep_alive: bool) -> None:
        # HTTP/1.0 keeps a connection only where it is asked to; asking the parser costs more.
        http_1_1 = (keep_alive and "connection" not in self._headers) or self._is_http_1_1()
        if not http_1_1 and not self._is_http_1_0():
            self._stop(MalformedHttpRequestException("The request is not HTTP/1.1"))
            return
        url = self._url if self._url.startswith(b"/") else _origin_form(self._url)
        raw_path, _, query = url.decode("latin-1").partition("?")
        request = HttpRequest(
            method=self._parser.get_method().decode(),
            raw_path=raw_path,
            query_string=query,
            headers=self._headers,
            body=bytes(self._body),
            source_address=self._edge.source_of(self._peer, self._headers),
        )
        # Whoever answers the request gives its bytes back.
        self._body_bytes = 0
        self._body.clear()
        self._begin()
        self._asked(Asked(request, keep_alive and http_1_1, http_1_1))

    def _throw_away(self, size: int) -> None:
        self._uncounted += size
        if self._uncounted > LINGER_BYTES:
            self.arriving = "nothing"

    def _bound_head(self, size: int) -> None:
        """The parser keeps a header to itself until it is whole: this bounds what it keeps."""
        self._uncounted += size
        try:
            self._edge.admit_head(
                uri_bytes=0, header_bytes=self._uncounted - self._edge.limits.max_uri_bytes
            )
        except AwsError as refusal:
            self._stop(refusal)

    def _stop(self, refusal: AwsError) -> None:
        self._in_head = False
        self.refuse(refusal)
        self.arriving = "nothing"

    def _ignore_upgrade(self, rest: bytes) -> None:
        """As a server may (RFC 9110, 7.8): `curl --http2` and Java's client offer to go to h2c.

        The parser stops before the body then: another reads it, and nothing after it.
        """
        if self._parser.get_method() == b"CONNECT":
            self._stop(MalformedHttpRequestException("CONNECT is for proxies"))
            return
        headers = self._headers
        framing = "transfer-encoding" if "transfer-encoding" in headers else "content-length"
        head = f"POST / HTTP/1.1\r\n{framing}: {headers.get(framing, '0')}\r\n\r\n"
        self._feed = HttpRequestParser(_BodyOnly(self)).feed_data
        self._feed(head.encode("latin-1"))
        self.feed(rest)

    def last_complete(self) -> None:
        if self.arriving == "body":
            self._complete(keep_alive=False)
        self.arriving = "nothing"


class _BodyOnly:
    """What is read of a request whose head another parser has read."""

    def __init__(self, reader: Http1Reader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.last_complete


def _origin_form(url: bytes) -> bytes:
    """Path and query of a request to a proxy, `http://host/path?query`; `*` stays as it is."""
    if b"://" not in url:
        return url
    parts = parse_url(url)
    path = cast("bytes | None", parts.path) or b"/"  # its stub knows no None
    query = cast("bytes | None", parts.query)
    return path if query is None else path + b"?" + query
