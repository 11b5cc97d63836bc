"""The log: a JSON line per event on stderr. Credentials, signatures and bodies are never fields."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

# How long request lines may wait for each other, and how many bytes make them go at once.
GATHER_S = 0.2
GATHER_BYTES = 32_768

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class RequestLine(
    Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    tag_field="event",
    tag="request",
):
    """What is told of every request, at info."""

    time: datetime
    request_id: str
    method: str
    operation: str | None = None
    status: int
    duration_ms: float
    error: str | None = None
    account_id: str | None = None
    region: str | None = None
    principal: str | None = None
    decided_by: str | None = None
    model_id: str | None = None
    served_by: str | None = None
    inference_region: str | None = None
    skipped: list[str] | None = None


class RequestLog:
    """Request lines, gathered for a moment: each costs a microsecond and not a system call."""

    def __init__(self, *, enabled: bool, write: Callable[[bytes], object]) -> None:
        self.enabled = enabled
        self._write = write
        self._encode = msgspec.json.Encoder().encode
        self._gathered = bytearray()

    def add(self, line: RequestLine) -> None:
        gathered = self._gathered
        if not gathered:
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        gathered += b'{"level":"info",'
        gathered += self._encode(line)[1:]
        gathered += b"\n"
        if len(gathered) > GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._gathered:
            self._write(bytes(self._gathered))
            self._gathered.clear()


class JsonFormatter(logging.Formatter):
    """A log record as an event: its message, and what was given as `extra` as fields."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        event |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(event, enc_hook=str).decode()


def configure_logging(level: str) -> None:
    """Every module's events go to stderr from here on, in this process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("_granian").setLevel(logging.WARNING)


def request_log(level: str) -> RequestLog:
    stderr = sys.stderr.fileno()
    return RequestLog(
        enabled=level in {"debug", "info"}, write=lambda lines: os.write(stderr, lines)
    )
