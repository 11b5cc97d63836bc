"""HTTP/1.1 as bytes on a socket: what no client library lets one send."""

import socket
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

GET = b"GET /inference-profiles HTTP/1.1\r\nHost: outcrop\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._reader = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        """Reads one whole answer."""
        line = self._reader.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while line := self._reader.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self._chunks()))
        return Answer(status, headers, self._reader.read(int(headers.get("content-length", 0))))

    def _chunks(self) -> Generator[bytes]:
        while size := int(self._reader.readline(), 16):
            yield self._reader.read(size)
            self._reader.readline()
        self._reader.readline()

    def read_some(self) -> bytes:
        return self._reader.read1(65_536)

    def read_to_end(self) -> bytes:
        return self._reader.read()

    def seconds_until_end(self) -> float:
        started = time.monotonic()
        self.read_to_end()
        return time.monotonic() - started

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


@contextmanager
def wire(port: int, tls: ssl.SSLContext | None = None) -> Generator[Wire]:
    opened = Wire(port, tls)
    try:
        yield opened
    finally:
        opened.close()


def ask(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> Answer:
    with wire(port, tls) as connection:
        connection.send(request)
        return connection.answer()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: outcrop\r\n\r\n".encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: outcrop", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
