"""The events of one answer, from the first one on, and everything held until the last."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self, cast

from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.router import Attempt
from outcrop.runtime.admission import Admitted
from outcrop.runtime.dialects.dialect import (
    Complaint,
    ComplaintError,
    Dialect,
    ModelEvent,
    Reader,
    StopDetail,
)
from outcrop.runtime.estimates import Generated, characters_of
from outcrop.runtime.failures import in_stream, of_complaint, of_silence, told_when, untold
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ConverseStreamMetadataEvent,
    ConverseStreamOutput,
    TokenUsage,
)

_log = logging.getLogger(__name__)

Metadata = Callable[[TokenUsage], ConverseStreamMetadataEvent]
"""Makes the last event of an answer out of what was used."""


class Events:
    """An iterator, not a generator: closing it gives everything back even if nobody ever read."""

    def __init__(
        self,
        attempt: Attempt,
        chunks: AsyncIterator[bytes],
        dialect: Dialect,
        reader: Reader,
        *,
        admitted: Admitted,
        metadata: Metadata,
    ) -> None:
        """`closed` is called when they are: what was used is known then, if it ever will be."""
        self.head: None = None
        """ConverseStream says nothing in its headers."""
        self._attempt = attempt
        self._chunks = chunks
        self._dialect = dialect
        self._reader = reader
        self._metadata = metadata
        self._admitted = admitted
        self.generated = Generated()
        self._waiting: deque[ModelEvent] = deque()
        self._failure: ServerFailureError | None = None
        """To be told when the events before it have gone out."""
        self._over = False
        self._begun = False

    async def begin(self) -> None:
        """Returns when there is a first event. Raises ServerFailureError: another may answer."""
        await self._fill()
        self._begun = True
        self._attempt.answered()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConverseStreamOutput:
        while self._waiting or await self._fill():
            event = self._with_metadata(self._waiting.popleft())
            if type(event) is not StopDetail:
                return event
        raise StopAsyncIteration

    async def rest(self) -> Sequence[ConverseStreamOutput | StopDetail]:
        """All that are still to come, at once: should they break off, nothing has gone out."""
        events: list[ConverseStreamOutput | StopDetail] = []
        while self._waiting or not self._over:
            events += [self._with_metadata(event) for event in self._waiting]
            self._waiting.clear()
            if not self._over:
                await self._fill(streams=False)
        return events

    async def next_event(self) -> ConverseStreamOutput | StopDetail:
        """For native bodies: some tell the stop sequence, Converse does not."""
        if not (self._waiting or await self._fill()):
            raise StopAsyncIteration
        return self._with_metadata(self._waiting.popleft())

    async def aclose(self) -> None:
        self._admitted.settle()
        if not self._over:
            await self._attempt.aclose()

    def _with_metadata(self, event: ModelEvent) -> ConverseStreamOutput | StopDetail:
        # By their types: of a record, isinstance takes six times as long to say no.
        if type(event) is ContentBlockDeltaEvent:
            self.generated.characters += characters_of(event.delta)
            return event
        if type(event) is TokenUsage:
            return self._told(self._metadata(event))
        if type(event) is ConverseStreamMetadataEvent:
            self._told(event)
        return cast("ConverseStreamOutput | StopDetail", event)

    def _told(self, event: ConverseStreamMetadataEvent) -> ConverseStreamMetadataEvent:
        self._admitted.invocation.usage = event.usage
        return event

    async def _fill(self, *, streams: bool = True) -> bool:
        """Waits for events; none are waiting afterwards only if the answer is over."""
        while not (self._waiting or self._over):
            if self._failure is not None:
                raise self._error(self._failure, streams=streams)
            try:
                try:
                    chunk = await anext(self._chunks)
                except StopAsyncIteration:
                    chunk = None
                self._read(chunk)
            except (ComplaintError, ServerFailureError) as error:
                self._failure = self._after(self._named(error))
        if self._over:
            await self._attempt.aclose()
        return bool(self._waiting)

    def _read(self, chunk: bytes | None) -> None:
        if chunk is not None:
            self._waiting.extend(self._reader.feed(chunk))
            return
        self._waiting.extend(self._reader.end())
        self._over = True

    def _named(self, error: ComplaintError | ServerFailureError) -> ServerFailureError:
        if isinstance(error, ServerFailureError):
            return error
        return ComplainedError(self._attempt.candidate.server.name, error.complaint)

    def _after(self, failure: ServerFailureError) -> ServerFailureError:
        """For the end of the stream: events that came before the failure go out before it."""
        if not (self._begun or self._waiting):
            raise failure
        _log.warning("model server failed while it answered: %s", failure)
        self._attempt.failed(failure)
        return failure

    def _error(self, failure: ServerFailureError, *, streams: bool) -> AwsError:
        model_id = self._admitted.invocation.model_id or ""
        error = as_aws_error(failure, self._dialect, model_id)
        if not streams:
            return untold(error, model_id)
        if not isinstance(failure, ComplainedError):
            return in_stream(error, told=False)
        amazons_own = error is failure.complaint.error
        return error if amazons_own else in_stream(error, told=True)


class ComplainedError(ServerFailureError):
    """It began its answer as if all were well, and then said what is wrong."""

    def __init__(self, server: str, complaint: Complaint) -> None:
        super().__init__(server, FailureKind.STATUS, complaint.message, status=complaint.status)
        self.complaint = complaint

    @property
    def another_may_answer(self) -> bool:
        return super().another_may_answer and not self.complaint.input_too_long


def as_aws_error(error: ServerFailureError, dialect: Dialect, model_id: str) -> AwsError:
    if isinstance(error, ComplainedError):
        complaint = error.complaint
    elif error.kind is FailureKind.STATUS and error.status is not None:
        complaint = dialect.complaint(error.status, error.body)
    else:
        return of_silence(error)
    return told_when(complaint.error or of_complaint(complaint, model_id), error)
