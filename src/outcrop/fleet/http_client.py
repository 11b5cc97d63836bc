"""HTTP/1.1 towards one server: kept-alive connections, and one dropped when nobody wants the rest.

What it offers is what a model server needs: one request, a streamed answer, real cancellation.
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct

from outcrop.fleet.http_connection import BrokenAnswerError, Connection

# More idle connections than this are not kept.
_IDLE_CONNECTIONS = 512
# Load balancers forget silent connections without a word, some after a minute; a request on one of
# those would wait for its whole patience.
_IDLE_S = 50.0

_BREAKS_A_LINE = re.compile(r"[\r\n\0]")
_PATH = re.compile(r"[!-~]*")


class CannotConnectError(Exception):
    """No connection came about: the server has seen nothing of the request."""


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait, each for one thing; what runs out raises TimeoutError."""

    connect_s: float
    first_byte_s: float
    """From sending the request to the first byte of the answer's body."""
    between_chunks_s: float
    total_s: float = 3_600.0
    """From sending the request to the end of the answer."""


class Address(Struct, frozen=True, kw_only=True):
    """Where a server listens: a TCP port, with or without TLS, or a unix socket."""

    host: str = ""
    port: int = 0
    tls: bool = False
    unix_socket: str | None = None
    base_path: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """`http://host:8000/v1` or `https://host/v1`; raises ValueError for anything else."""
        if "@" in url or "?" in url or "#" in url:
            # Not shown: what does not belong there may be a password.
            raise ValueError(
                "not a URL of a model server: it must end with its path, and hold no"
                " user or password"
            )
        if not _PATH.fullmatch(url):
            raise ValueError(f"not a URL of a model server, by its characters: {url!r}")
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not _is_host(host):
            raise ValueError(f"not a URL of a model server: {url!r}")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(host=host, port=port, tls=tls, base_path=parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The Host header: without a port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in {0, 443 if self.tls else 80} else f"{host}:{self.port}"


class HttpClient:
    def __init__(
        self,
        address: Address,
        *,
        headers: Mapping[str, str],
        patience: Patience,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Headers in lower case. Without `tls`, an https address is verified as browsers do."""
        self._address = address
        self._patience = patience
        self._head_within_s = min(patience.first_byte_s, patience.total_s)
        self._tls = ssl.create_default_context() if address.tls and tls is None else tls
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._headers = {"host": address.authority, "accept-encoding": "identity", **headers}
        self._head = _lines(self._headers)

    def send(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
    ) -> Awaitable["Answer"]:
        """Returns when the head of the answer is here. Whoever gets the answer closes it.

        `headers`, in lower case, come on top of those of every request.
        """
        head = _lines({**self._headers, **headers}) if headers else self._head
        line = _line(method, self._address.base_path, path)
        request = f"{line}{head}content-length: {len(body)}\r\n\r\n"
        return self._answer(request.encode("latin-1") + body)

    def get(self, path: str) -> Awaitable["Answer"]:
        """As `send`."""
        request = f"{_line('GET', self._address.base_path, path)}{self._head}\r\n"
        return self._answer(request.encode("latin-1"))

    async def aclose(self) -> None:
        """Requests in progress come to their end, and their connections are closed then."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()

    async def _answer(self, request: bytes) -> "Answer":
        """When its head has arrived."""
        while True:
            idle = self._idle_connection()
            connection = await self._connect() if idle is None else idle
            try:
                connection.ask(request)
                await connection.wait_for_head(connection.asked_at + self._head_within_s)
            except BaseException:
                connection.abort()
                raise
            if not connection.gone_before_answering:
                return Answer(connection, self._patience, give_back=self._give_back)
            connection.abort()
            # An idle one may be hung up on without a word at any time: that says nothing.
            if idle is None:
                raise BrokenAnswerError(connection.why_gone)

    def _idle_connection(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._patience.connect_s):
                return await _connect(self._address, self._tls)
        except (OSError, TimeoutError) as error:
            raise CannotConnectError(str(error) or "no connection in time") from error

    def _give_back(self, connection: Connection) -> None:
        if connection.reusable and not self._closed and len(self._idle) < _IDLE_CONNECTIONS:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()


class Answer:
    """Status and headers, and the body as it arrives."""

    def __init__(
        self, connection: Connection, patience: Patience, *, give_back: Callable[[Connection], None]
    ) -> None:
        self.status = connection.status
        self._connection = connection
        self._give_back = give_back
        self._between_chunks_s = patience.between_chunks_s
        self._time = asyncio.get_running_loop().time
        self._first_until = connection.asked_at + patience.first_byte_s
        self._ends_at = connection.asked_at + patience.total_s
        self._begun = False

    def header(self, name: str) -> str:
        """By its name in lower case; empty if the answer has none."""
        return self._connection.headers.get(name.encode(), b"").decode("latin-1").strip()

    def close(self) -> None:
        """To be called once; before the end of the answer it hangs up."""
        self._give_back(self._connection)

    def next_chunk(self) -> Awaitable[bytes | None]:
        """What has arrived since the last one; None at the end of the answer."""
        until = self._until()
        self._begun = True
        return self._connection.next_chunk(until)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.next_chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _until(self) -> float:
        now = self._time()
        if now >= self._ends_at:
            raise TimeoutError("the answer took too long in all")
        until = now + self._between_chunks_s if self._begun else max(now, self._first_until)
        return min(until, self._ends_at)


def _is_host(host: str) -> bool:
    """Whether it can be looked up at all: Python refuses some names in words of its own."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


@lru_cache(maxsize=256)
def _line(method: str, base_path: str, path: str) -> str:
    """A server is asked for the same few paths again and again."""
    if not _PATH.fullmatch(path):
        raise ValueError(f"no path of a request: {path!r}")
    return f"{method} {_resolved(base_path, path)} HTTP/1.1\r\n"


def _resolved(base_path: str, path: str) -> str:
    """`/../x` is beside the API: it never goes out with its dots."""
    if path.startswith("/../"):
        return base_path.rpartition("/")[0] + path[3:]
    return base_path + path


def _lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if _BREAKS_A_LINE.search(name) or _BREAKS_A_LINE.search(value):
            raise ValueError(f"the header {name!r} would break its line")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


async def _connect(address: Address, tls: ssl.SSLContext | None) -> Connection:
    loop = asyncio.get_running_loop()
    protocol: Callable[[], Connection] = Connection
    if address.unix_socket is not None:
        _, connection = await loop.create_unix_connection(protocol, address.unix_socket)
        return connection
    _, connection = await loop.create_connection(protocol, address.host, address.port, ssl=tls)
    return connection
