"""The ledger: one usage record for each invocation, on disk before its answer is complete."""

import logging

from outcrop.metering.budgets import Budgets
from outcrop.metering.entries import Entries
from outcrop.metering.invocation import SUCCESS, End, ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.wire.errors import AwsError, ServiceUnavailableException

CLIENT_LEFT = 499
"""The status of an invocation whose client did not wait for an answer."""

_log = logging.getLogger(__name__)


class Ledger:
    def __init__(
        self,
        journal: Journal[ModelInvocation],
        entries: Entries,
        *,
        budgets: Budgets | None = None,
        refuses: bool,
    ) -> None:
        self._journal = journal
        self._budgets = budgets
        self._entries = entries
        self._meters = entries.meters
        self.refuses = refuses

    def admit(self) -> None:
        """Before a model is asked: what could not be recorded is not begun, if so configured."""
        if self.refuses and self._meters and self._journal.failing:
            raise _unwritable()

    def began(self, invocation: ModelInvocation) -> None:
        """Of one that will be told of once more, when it has ended."""
        if self._meters or invocation.logged is not None:
            self._journal.expect()

    async def record(self, invocation: ModelInvocation, error: AwsError | None = None) -> None:
        """Returns when it is on disk; recorded once, however often it is told of.

        Raises ServiceUnavailableException if it cannot be written, if so configured. No call fails
        for what cannot be logged.
        """
        if not self._writes(invocation):
            return
        invocation.end = SUCCESS if error is None else _end_with(error)
        invocation.error = error
        try:
            await self._journal.append(invocation)
        except JournalError as failure:
            if self.refuses and self._meters:
                raise _unwritable() from failure
        else:
            self._spend(invocation)
        finally:
            invocation.give_back()

    def record_cut_off(self, invocation: ModelInvocation) -> None:
        """Of a client that left before its answer was complete: there is nobody to wait for."""
        if self._writes(invocation):
            begun = invocation.streamed and invocation.first_event_at is not None
            invocation.end = End("cancelled", 200 if begun else CLIENT_LEFT, None)
            self._journal.append_unawaited(invocation)
            self._spend(invocation)
            invocation.give_back()

    def _writes(self, invocation: ModelInvocation) -> bool:
        """Not what is written already."""
        return invocation.end is None and (self._meters or invocation.logged is not None)

    def _spend(self, invocation: ModelInvocation) -> None:
        if self._budgets is not None and self._budgets.rules:
            self._budgets.add(self._entries.record(invocation))


# By the status they are the client's; but it is the model, or its server, that failed.
_THE_MODELS = frozenset(
    {
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
    }
)


def _end_with(error: AwsError) -> End:
    if error.name == "ThrottlingException":
        return End("throttle", error.status, error.name)
    if error.status >= 500 or error.name in _THE_MODELS:
        return End("server_error", error.status, error.name)
    return End("client_error", error.status, error.name)


def _unwritable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
