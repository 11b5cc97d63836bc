"""What is written down of each invocation: its usage, and where an account wants it, its log."""

from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.invocation_log import InvocationLog
from outcrop.metering.ledger import Ledger
from outcrop.wire.errors import AwsError


class Bookkeeping:
    def __init__(self, ledger: Ledger | None = None, log: InvocationLog | None = None) -> None:
        self._ledger = ledger
        self._log = log

    def admit(self) -> None:
        """Before an invocation begins. Raises ServiceUnavailableException."""
        if self._ledger:
            self._ledger.admit()

    def begin(self, invocation: ModelInvocation, body: bytes) -> None:
        if self._log:
            self._log.begin(invocation, body)

    async def record(self, invocation: ModelInvocation, error: AwsError | None = None) -> None:
        """Before its answer ends; once, however often it is told of.

        Raises ServiceUnavailableException.
        """
        if invocation.logged is not None and self._log:
            await self._log.write(invocation, error)
        if self._ledger:
            await self._ledger.record(invocation, error)

    def record_cut_off(self, invocation: ModelInvocation) -> None:
        """Of a client that left before its answer was complete, unless it is recorded already."""
        if self._log:
            self._log.write_cut_off(invocation)
        if self._ledger:
            self._ledger.record_cut_off(invocation)
