"""What all connections of one worker share: the App behind them, and what a client may ask for.

Two servers stand in front of it on one port: HTTP/1.1 (http1.py) and HTTP/2 (http2.py).
"""

import asyncio
from collections.abc import Sequence
from email.utils import format_datetime
from typing import Protocol

from outcrop.server.config import LimitsConfig
from outcrop.server.source_address import SourceAddresses
from outcrop.wire.errors import (
    RequestEntityTooLargeException,
    RequestHeaderFieldsTooLargeException,
    RequestTimeoutException,
    RequestUriTooLongException,
    ServiceUnavailableException,
)
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.timestamps import Clock

SERVER = "outcrop"
"""What every answer says of who wrote it: in HTTP/2, Granian would name itself otherwise."""


class Answers(Protocol):
    async def handle(self, request: HttpRequest) -> HttpResponse: ...


class ClientGoneError(Exception):
    """The client closed its connection or reset its stream, or reads nothing any more."""


class Edge:
    def __init__(
        self,
        app: Answers,
        *,
        limits: LimitsConfig,
        trusted_proxies: Sequence[str] = (),
        tasks: asyncio.TaskGroup,
        clock: Clock,
    ) -> None:
        self.handle = app.handle
        self.limits = limits
        self.source_of = SourceAddresses(trusted_proxies).of
        self.tasks = tasks
        self.buffered_bytes = 0
        """Of the bodies of requests in progress."""
        self._clock = clock
        self._date = ""
        self._date_until = 0.0

    def date(self, now_s: float) -> str:
        """The Date header's value, written anew once a second of the event loop's time."""
        if now_s >= self._date_until:
            self._date = format_datetime(self._clock(), usegmt=True)
            self._date_until = now_s + 1
        return self._date

    def admit_head(self, *, uri_bytes: int, header_bytes: int) -> None:
        limits = self.limits
        if uri_bytes > limits.max_uri_bytes:
            raise RequestUriTooLongException(
                f"Request URI is longer than {limits.max_uri_bytes} bytes"
            )
        if header_bytes > limits.max_header_bytes:
            raise RequestHeaderFieldsTooLargeException(
                f"Request headers are larger than {limits.max_header_bytes} bytes"
            )

    def admit_body(self, body_bytes: int) -> None:
        """Of one request: what it says it will send, or has sent so far."""
        limits = self.limits
        if body_bytes > limits.max_body_bytes:
            raise RequestEntityTooLargeException(
                f"Request body is larger than {limits.max_body_bytes} bytes"
            )
        if self.buffered_bytes > limits.max_buffered_bytes:
            raise ServiceUnavailableException(
                "Too many large requests at once, please wait before trying again."
            )

    def body_too_slow(self) -> RequestTimeoutException:
        seconds = self.limits.receive_body_timeout_s
        return RequestTimeoutException(
            f"The request body did not arrive within {seconds:g} seconds"
        )


def stopping() -> ServiceUnavailableException:
    return ServiceUnavailableException("The server is shutting down.")
