"""A stream's body: events of an operation as frames, as they arrive."""

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.recording import Recording
from outcrop.wire.errors import AwsError, InternalServerException
from outcrop.wire.operation import StreamOperation
from outcrop.wire.shape import Shape

EventT = TypeVar("EventT", bound=Shape)
EventT_co = TypeVar("EventT_co", bound=Shape, covariant=True)

# The lengths of `p` seen in Amazon's streams (envoyproxy/ai-gateway, testupstream_test.go).
SHORTEST_PADDING, PADDINGS = 2, 56

# Amazon's text for both (GH:boto/boto3#4389); what really happened is in the log.
TRY_AGAIN = "The system encountered an unexpected error during processing. Try your request again."

_log = logging.getLogger(__name__)


class AnsweredStream(Protocol[EventT_co]):
    """Events that have begun to arrive. To be closed, read or not."""

    @property
    def head(self) -> Shape | None:
        """What the answer says in its headers, where the operation has such members."""
        ...

    def __aiter__(self) -> AsyncIterator[EventT_co]: ...
    async def aclose(self) -> None: ...


class Frames(Generic[EventT]):
    """A stream's body: events as frames, as they arrive; a failure is its last frame.

    What comes after the usage, and a failure, waits until the invocation is recorded.
    """

    def __init__(
        self,
        operation: StreamOperation[Any, EventT],
        answered: AnsweredStream[EventT],
        invocation: ModelInvocation,
        recording: Recording,
    ) -> None:
        self._operation = operation
        self._answered = answered
        self._invocation = invocation
        self._recording = recording
        self._frames = self._encoded()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._frames

    async def aclose(self) -> None:
        self._recording.cut_off(self._invocation)  # unless it has ended already
        await self._frames.aclose()
        await self._answered.aclose()

    async def _encoded(self) -> AsyncGenerator[bytes]:
        invocation = self._invocation
        try:
            async for event in self._answered:
                padding = SHORTEST_PADDING + secrets.randbelow(PADDINGS)
                frame = self._operation.encode_event(event, padding=padding)
                if invocation.logged is not None:
                    invocation.logged.events.append(self._operation.encode_logged(event))
                if invocation.usage is not None:
                    await self._recording.ended(invocation)
                yield frame
            await self._recording.ended(invocation)
        except AwsError as error:
            yield await self._exception(error)
        except Exception:  # noqa: BLE001 - as in `handle`, for an answer that has begun
            _log.exception("a stream failed")
            yield await self._exception(InternalServerException(TRY_AGAIN))

    async def _exception(self, error: AwsError) -> bytes:
        try:
            await self._recording.ended(self._invocation, error)
        except AwsError as unrecorded:
            error = unrecorded
        return self._operation.encode_exception(error)
