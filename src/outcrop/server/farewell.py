"""The end of a connection that the server closes: how long its client may take to let go."""

import asyncio

# Over TLS a close waits for the client's own farewell, which idle clients never send.
UNANSWERED_S = 2.0


class Farewell:
    def __init__(self, transport: asyncio.Transport, send_timeout_s: float) -> None:
        self._transport = transport
        self._send_timeout_s = send_timeout_s
        self._since_s: float | None = None

    def check(self, now_s: float) -> None:
        """Called now and then while the transport is closing; aborts it when that takes too long.

        What was written and is not sent yet has longer than a farewell.
        """
        if self._since_s is None:
            self._since_s = now_s
        unsent = self._transport.get_write_buffer_size()
        patience_s = self._send_timeout_s if unsent else min(UNANSWERED_S, self._send_timeout_s)
        if now_s - self._since_s > patience_s:
            self._transport.abort()
