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
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Raises EndlessLineError."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if (data := self._after(line)) is not None:
                yield data
        if len(self._rest) + self._data_bytes > _LONGEST_LINE_BYTES:
            raise EndlessLineError

    def end(self) -> Iterator[bytes]:
        """What was left when the stream ended: some servers leave out the last empty line."""
        for line in (self._rest, b""):
            if (data := self._after(line)) is not None:
                yield data

    def _after(self, line: bytes) -> bytes | None:
        """The data of the event that ends with this line."""
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._data_bytes += len(line)
        elif not line and self._data:
            data = b"\n".join(self._data)
            self._data.clear()
            self._data_bytes = 0
            return data
        return None
