"""The log: JSON lines, gathered, with what was given as fields."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from outcrop.server.logs import JsonFormatter, RequestLine, RequestLog

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LINE = RequestLine(
    time=NOW,
    request_id="5b3c1e1e",
    method="GET",
    operation="ListInferenceProfiles",
    status=200,
    duration_ms=0.25,
)


def event(record: logging.LogRecord) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(JsonFormatter().format(record))
    return decoded


def written(lines: int) -> list[bytes]:
    chunks: list[bytes] = []

    async def main() -> None:
        log = RequestLog(enabled=True, write=chunks.append)
        for _ in range(lines):
            log.add(LINE)
        log.flush()
        log.flush()

    asyncio.run(main())
    return chunks


def test_a_request_line_has_what_is_known_and_nothing_else() -> None:
    assert msgspec.json.decode(written(1)[0]) == {
        "level": "info",
        "event": "request",
        "time": "2026-11-22T12:00:00Z",
        "request_id": "5b3c1e1e",
        "method": "GET",
        "operation": "ListInferenceProfiles",
        "status": 200,
        "duration_ms": 0.25,
    }


def test_request_lines_are_gathered_and_written_together() -> None:
    assert [chunk.count(b"\n") for chunk in written(2)] == [2]


def test_many_request_lines_do_not_wait() -> None:
    chunks = written(1_000)

    assert len(chunks) > 1
    assert sum(chunk.count(b"\n") for chunk in chunks) == 1_000


def test_an_event_has_its_fields() -> None:
    record = logging.makeLogRecord(
        {"name": "outcrop.fleet", "levelname": "WARNING", "msg": "server %s left", "args": ("a",)}
    )
    record.server = "gpu-1"

    assert {"level": "warning", "event": "server a left", "server": "gpu-1"}.items() <= event(
        record
    ).items()


def test_an_event_with_an_exception_has_its_traceback() -> None:
    with pytest.raises(ValueError, match="broken") as caught:
        int("broken")
    record = logging.makeLogRecord(
        {
            "name": "test",
            "msg": "failed",
            "exc_info": (caught.type, caught.value, caught.tb),
        }
    )

    assert event(record)["traceback"].endswith("literal for int() with base 10: 'broken'")
