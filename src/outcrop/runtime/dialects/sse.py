"""Server-sent events: a stream of bytes to payloads, however it was chunked."""

from collections.abc import Sequence

from outcrop.runtime.dialects.dialect import Complaint, ComplaintError

# No event of a model is so long: a server that ends no line must not fill the memory.
_LONGEST_LINE_BYTES = 8 * 1024 * 1024


class EventReader:
    """The `data` of each event; its other fields, and comments, are of no use here."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Raises ComplaintError for a line that does not end."""
        if not (self._rest or self._data) and (whole := _whole_events(chunk)):
            return whole
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = self._ended(lines)
        if len(self._rest) + self._data_bytes > _LONGEST_LINE_BYTES:
            raise ComplaintError(Complaint(502, "an endless line"))
        return found

    def end(self) -> Sequence[bytes]:
        """What was left when the stream ended: some servers leave out the last empty line."""
        return self._ended([self._rest, b""]) if self._rest or self._data else ()

    def _ended(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """The data of the events that end within these lines."""
        found: list[bytes] = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removesuffix(b"\r").removeprefix(b" "))
            elif data and line in {b"", b"\r"}:
                # Nearly always it is one line, which join would copy.
                found.append(data[0] if len(data) == 1 else b"\n".join(data))
                data.clear()
        self._data_bytes = sum(map(len, data))
        return found


def _whole_events(chunk: bytes) -> Sequence[bytes]:
    """The data of a chunk that is whole events of one line each, as most are; empty for others."""
    if not (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n")):
        return ()
    found = chunk[6:-2].split(b"\n\ndata: ")
    within = b"".join(found)
    return found if within.find(b"\n") < 0 and within.find(b"\r") < 0 else ()
