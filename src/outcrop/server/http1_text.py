"""HTTP/1.1 answers as bytes."""

from collections.abc import Mapping
from http import HTTPStatus

from outcrop.server.edge import SERVER

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_SERVER_LINE = f"server: {SERVER}\r\n"


def head_text(status: int, headers: Mapping[str, str], *, date: str, framing: str) -> bytes:
    """Status and headers; `framing`: what says where the body ends, and the connection."""
    fields = ""
    for name, value in headers.items():
        field = f"{name}: {value}"
        if "\n" in field:
            raise ValueError("a header has a line break in it")
        fields = f"{fields}{field}\r\n"
    head = f"{_STATUS_LINES[status]}{fields}{_SERVER_LINE}date: {date}\r\n{framing}\r\n"
    return head.encode("latin-1")


def chunk_of(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
