"""The events of one answer, from the first one on, and everything held until the last."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Self, TypeVar

from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.dialects.dialect import (
    Asked,
    ComplaintError,
    Dialect,
    ModelEvent,
    StopDetail,
)
from outcrop.runtime.estimates import characters_of
from outcrop.runtime.failures import in_stream, of_complaint, of_silence
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ConverseStreamMetadataEvent,
    ConverseStreamOutput,
    TokenUsage,
)

EventT = TypeVar("EventT", bound=ConverseStreamOutput | StopDetail)

_log = logging.getLogger(__name__)

Metadata = Callable[[TokenUsage], ConverseStreamMetadataEvent]
"""Makes the last event of an answer out of what was used."""


class Events:
    """An iterator, not a generator: closing it gives everything back even if nobody ever read."""

    def __init__(
        self,
        held: AsyncExitStack,
        chunks: AsyncIterator[bytes],
        dialect: Dialect,
        asked: Asked,
        *,
        invocation: ModelInvocation,
        metadata: Metadata,
    ) -> None:
        self.head: None = None
        """ConverseStream says nothing in its headers."""
        self._held = held
        self._chunks = chunks
        self._dialect = dialect
        self._reader = dialect.reader(asked)
        self._model_id = asked.model_id
        self._metadata = metadata
        self._invocation = invocation
        self._characters = 0
        self._waiting: deque[ModelEvent] = deque()
        self._failure: AwsError | None = None
        self._over = False
        self._begun = False

    async def begin(self) -> None:
        """Returns when there is a first event; until then a failure is an ordinary error."""
        await self._fill()
        self._begun = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ConverseStreamOutput:
        while self._waiting or await self._fill():
            event = self._waiting.popleft()
            if not isinstance(event, StopDetail):
                return self._with_metadata(event)
        raise StopAsyncIteration

    async def rest(self) -> Sequence[ConverseStreamOutput | StopDetail]:
        """All that are still to come, at once."""
        events: list[ConverseStreamOutput | StopDetail] = []
        while self._waiting or await self._fill():
            events += [self._with_metadata(event) for event in self._waiting]
            self._waiting.clear()
        return events

    async def next_event(self) -> ConverseStreamOutput | StopDetail:
        """For native bodies: some tell the stop sequence, Converse does not."""
        if not (self._waiting or await self._fill()):
            raise StopAsyncIteration
        event = self._waiting.popleft()
        return self._with_metadata(event)

    async def aclose(self) -> None:
        await self._held.aclose()

    def generated_characters(self) -> int:
        """Of everything that was handed out."""
        return self._characters

    def _with_metadata(self, event: EventT | TokenUsage) -> EventT | ConverseStreamMetadataEvent:
        if isinstance(event, ContentBlockDeltaEvent):
            self._characters += characters_of(event.delta)
        elif isinstance(event, TokenUsage):
            return self._told(self._metadata(event))
        elif isinstance(event, ConverseStreamMetadataEvent):
            self._told(event)
        return event

    def _told(self, event: ConverseStreamMetadataEvent) -> ConverseStreamMetadataEvent:
        self._invocation.usage = event.usage
        return event

    async def _fill(self) -> bool:
        """Waits for events; none are waiting afterwards only if the answer is over."""
        while not (self._waiting or self._over):
            if self._failure is not None:
                raise self._failure
            try:
                await self._read_chunk()
            except (ComplaintError, ServerFailureError) as error:
                # Events that came before the failure go out before it.
                self._failure = self._as_aws_error(error)
        return bool(self._waiting)

    async def _read_chunk(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is not None:
            self._waiting.extend(self._reader.feed(chunk))
            return
        self._waiting.extend(self._reader.end())
        self._over = True
        await self._held.aclose()

    def _as_aws_error(self, error: ComplaintError | ServerFailureError) -> AwsError:
        _log.warning(
            "model server failed while it answered: %s: %s", self._invocation.served_by, error
        )
        failure = as_aws_error(error, self._dialect, self._model_id)
        amazons_own = isinstance(error, ComplaintError) and failure is error.complaint.error
        begun = self._begun or self._waiting
        return in_stream(failure) if begun and not amazons_own else failure


def as_aws_error(
    error: ComplaintError | ServerFailureError, dialect: Dialect, model_id: str
) -> AwsError:
    if isinstance(error, ComplaintError):
        complaint = error.complaint
    elif error.kind is FailureKind.STATUS and error.status is not None:
        complaint = dialect.complaint(error.status, error.body)
    else:
        return of_silence(error)
    return complaint.error or of_complaint(complaint, model_id)
