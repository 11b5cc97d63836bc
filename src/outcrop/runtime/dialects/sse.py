"""Server-sent events: a stream of bytes to payloads, however it was chunked."""

from collections.abc import Iterator

# No event of a model is so long: a server that ends no line must not fill the memory.
_LONGEST_LINE_BYTES = 8 * 1024 * 1024


class EndlessLineError(Exception):
    """The server sends, and ends no line."""


class EventReader:
    """The `data` of each event; its other fields, and comments, are of no use here."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises EndlessLineError."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        if len(self._rest) > _LONGEST_LINE_BYTES:
            raise EndlessLineError

    def end(self) -> Iterator[bytes]:
        """What was left when the stream ended: some servers leave out the last empty line."""
        yield from self._line(self._rest.removesuffix(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            yield b"\n".join(self._data)
            self._data.clear()
