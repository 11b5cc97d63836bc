"""Converse and ConverseStream: one conversation in, one message of a model out."""

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime

from msgspec import Struct

from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.model_server import Call
from outcrop.fleet.router import Candidate, Opened, Router
from outcrop.iam.caller import Caller
from outcrop.runtime.conversation import asks_for_cache, check
from outcrop.runtime.dialects.dialect import Dialect
from outcrop.runtime.dialects.openai_chat import EmbeddedChat, OpenAiChat
from outcrop.runtime.events import Events, Metadata, as_aws_error
from outcrop.runtime.message import collected
from outcrop.runtime.target import Target, Targets
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseRequest,
    ConverseResponse,
    ConverseStreamMetadataEvent,
    ConverseStreamMetrics,
    ConverseStreamRequest,
    TokenUsage,
)
from outcrop.wire.timestamps import Clock, to_micros

_log = logging.getLogger(__name__)

DIALECTS: Mapping[str, Dialect] = {
    "openai": OpenAiChat(),
    # Small models do not find an end by themselves: 512 tokens unless the caller says otherwise.
    "embedded": EmbeddedChat(system_prompt="You are a helpful assistant.", max_tokens=512),
}


class ConverseAnswer(Struct, frozen=True):
    output: ConverseResponse
    served_by: str


class Converse:
    def __init__(self, targets: Targets, router: Router, *, clock: Clock) -> None:
        self._targets = targets
        self._router = router
        self._clock = clock

    async def converse(self, caller: Caller, request: ConverseRequest) -> ConverseAnswer:
        events = await self._events(caller, request)
        try:
            return ConverseAnswer(await collected(events), events.served_by)
        finally:
            await events.aclose()

    async def converse_stream(self, caller: Caller, request: ConverseStreamRequest) -> Events:
        """Returns when the first event is here. Whoever gets the events closes them."""
        return await self._events(caller, request)

    async def _events(
        self, caller: Caller, request: ConverseRequest | ConverseStreamRequest
    ) -> Events:
        since = self._clock()
        check(request)
        target = await self._targets.resolve(caller, request.model_id)
        _check_target(target)
        held = AsyncExitStack()
        try:
            opened = await self._opened(held, target, request)
            events = Events(
                held,
                opened.chunks,
                DIALECTS[opened.candidate.dialect],
                served_by=_served_by(opened.candidate, target),
                model_id=target.model_id,
                metadata=self._metadata(request, since),
            )
            await events.begin()
        except BaseException:
            await held.aclose()
            raise
        return events

    async def _opened(
        self,
        held: AsyncExitStack,
        target: Target,
        request: ConverseRequest | ConverseStreamRequest,
    ) -> Opened:
        def call_for(candidate: Candidate) -> Call:
            dialect = DIALECTS[candidate.dialect]
            return Call(dialect.path, dialect.body(request, candidate.served_as))

        try:
            return await held.enter_async_context(self._router.open(target.candidates, call_for))
        except ServerFailureError as failure:
            _log.warning("no model server answered: %s", failure)
            raise as_aws_error(failure, _dialect_of(failure, target), target.model_id) from failure

    def _metadata(
        self, request: ConverseRequest | ConverseStreamRequest, since: datetime
    ) -> Metadata:
        caches = asks_for_cache(request)

        def metadata(usage: TokenUsage) -> ConverseStreamMetadataEvent:
            latency_ms = (to_micros(self._clock()) - to_micros(since)) // 1000
            return ConverseStreamMetadataEvent(
                usage=usage if caches else _all_input(usage),
                metrics=ConverseStreamMetrics(latency_ms=latency_ms),
                performance_config=request.performance_config,
                service_tier=request.service_tier,
            )

        return metadata


def _check_target(target: Target) -> None:
    if not target.foundation_model.converses:
        raise ValidationException(
            "This action doesn't support the model that you provided. Try again with a supported"
            " text or chat model."
        )
    if not target.candidates:
        raise target.served_by_nobody


def _dialect_of(failure: ServerFailureError, target: Target) -> Dialect:
    names = {candidate.server.name: candidate.dialect for candidate in target.candidates}
    return DIALECTS[names[failure.server]]


def _all_input(usage: TokenUsage) -> TokenUsage:
    """Servers cache by themselves; Amazon tells cached input apart for those who asked for it."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return TokenUsage(
        input_tokens=usage.input_tokens + read + written,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
    )


def _served_by(candidate: Candidate, target: Target) -> str:
    """`embedded; model="outcrop.smollm2-…"; stands-in-for="amazon.nova-lite-v1:0"`."""
    served_by = f'{candidate.server.name}; model="{candidate.served_as}"'
    if target.stands_in:
        served_by += f'; stands-in-for="{target.foundation_model.model_id}"'
    # A header is ASCII, a file's name need not be.
    return served_by.encode("ascii", "replace").decode()
