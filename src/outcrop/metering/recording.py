"""How each invocation went, told once: to the ledger, which may refuse, and to who only watches."""

from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.invocation_log import InvocationLog
from outcrop.metering.ledger import CLIENT_LEFT, Ledger
from outcrop.wire.errors import AwsError
from outcrop.wire.timestamps import Clock

CANCELLED = "cancelled"
"""In place of an error's name: the client left before its answer was complete."""


class Ending(Struct, frozen=True):
    at: datetime
    status: int = 200
    error: str | None = None
    """By Amazon's name, or CANCELLED."""


class Observer(Protocol):
    """Watches invocations; raises nothing and waits for nothing."""

    def began(self, invocation: ModelInvocation) -> None: ...
    def ended(self, invocation: ModelInvocation, ending: Ending) -> None: ...


class Recording:
    def __init__(
        self,
        ledger: Ledger | None,
        log: InvocationLog | None = None,
        observers: Sequence[Observer] = (),
        *,
        clock: Clock,
    ) -> None:
        """Without a ledger, nothing is written down; without a log, nothing of what was said."""
        self._ledger = ledger
        self._log = log
        self._observers = observers
        self._clock = clock

    def admit(self) -> None:
        """Before a model is asked. Raises ServiceUnavailableException if it could not be told."""
        if self._ledger:
            self._ledger.admit()

    def began(self, invocation: ModelInvocation, body: bytes) -> None:
        if self._log:
            self._log.begin(invocation, body)
        if self._ledger:
            self._ledger.began(invocation)
        for observer in self._observers:
            observer.began(invocation)

    def ended(
        self, invocation: ModelInvocation, error: AwsError | None = None
    ) -> Coroutine[Any, Any, None]:
        """Done when it is on disk. Raises what the ledger does; then that is how it ended."""
        if self._ledger and not self._observers:
            return self._ledger.record(invocation, error)
        return self._ended(invocation, error)

    async def _ended(self, invocation: ModelInvocation, error: AwsError | None) -> None:
        try:
            if self._ledger:
                await self._ledger.record(invocation, error)
        except AwsError as unrecorded:
            self._tell(invocation, unrecorded.status, unrecorded.name)
            raise
        if error is None:
            self._tell(invocation, 200, None)
        else:
            self._tell(invocation, error.status, error.name)

    def cut_off(self, invocation: ModelInvocation) -> None:
        """The client left: there is nobody to wait for. Nothing happens if it had ended."""
        if self._ledger:
            self._ledger.record_cut_off(invocation)
        self._tell(invocation, CLIENT_LEFT, CANCELLED)

    def _tell(self, invocation: ModelInvocation, status: int, error: str | None) -> None:
        if not self._observers or invocation.observed:
            return
        invocation.observed = True
        ending = Ending(self._clock(), status, error)
        for observer in self._observers:
            observer.ended(invocation, ending)
