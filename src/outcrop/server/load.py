"""How much of a model one server sustains: more and more calls at once, until more is no gain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from msgspec import Struct

from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.pool import Candidate
from outcrop.runtime.dialects.dialect import ComplaintError, ModelEvent
from outcrop.runtime.inference import DIALECTS
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseRequest,
    ConverseStreamMetadataEvent,
    InferenceConfiguration,
    Message,
    TokenUsage,
)

GROWTH = 1.1
"""A step that brings less than this many times the output of the best before it is the last."""
LATENCY = 2.0
"""Nor may a token take longer than this many times what it takes a call that is alone."""


class Shape(Struct, frozen=True, kw_only=True):
    """What the calls are like. What is sold is sold in this proportion."""

    input_tokens: int = 512
    output_tokens: int = 128


class Step(Struct, frozen=True, kw_only=True):
    """What so many calls at once came to."""

    concurrency: int
    input_tokens_per_minute: float
    output_tokens_per_minute: float
    ms_per_token: float
    """Of one call, from asking to its end, by its output tokens."""
    failure: str | None = None


class NothingMeasuredError(Exception):
    """The server does not answer as it should even when asked alone."""


async def climb(measure: Callable[[int], Awaitable[Step]], *, most: int) -> Sequence[Step]:
    """Steps of 1, 2, 4 … calls at once, up to the one that was no gain, or `most`.

    Raises NothingMeasuredError.
    """
    steps = [await measure(1)]
    if steps[0].failure is not None or not steps[0].output_tokens_per_minute:
        raise NothingMeasuredError(steps[0].failure or "it generates no tokens")
    while steps[-1].concurrency < most:
        best = sustained(steps)
        steps.append(await measure(min(most, 2 * steps[-1].concurrency)))
        reached = steps[-1].output_tokens_per_minute
        if sustained(steps) is best or reached < GROWTH * best.output_tokens_per_minute:
            break
    return steps


def sustained(steps: Sequence[Step]) -> Step:
    """The step of the most output, of those at which calls fared well."""
    alone = steps[0].ms_per_token
    well = [step for step in steps if step.failure is None and step.ms_per_token <= LATENCY * alone]
    return max(well, key=lambda step: step.output_tokens_per_minute)


class Load:
    """Calls of one server, as the runtime makes them."""

    def __init__(self, candidate: Candidate, *, shape: Shape, seconds: float) -> None:
        self._candidate = candidate
        self._dialect = DIALECTS[candidate.dialect]
        self._shape = shape
        self._seconds = seconds
        self._numbers = count(1)
        self._loop = asyncio.get_running_loop()

    async def warm_up(self) -> None:
        """One call that is not counted: it may load the model. Raises NothingMeasuredError."""
        try:
            await self._call()
        except (ServerFailureError, ComplaintError) as error:
            raise NothingMeasuredError(str(error)) from error

    async def at(self, concurrency: int) -> Step:
        """So many callers for the seconds given, each of whom asks again when it is answered."""
        begin = self._loop.time()
        end = begin + self._seconds
        answers: list[_Answer] = []
        failure = None
        try:
            async with asyncio.TaskGroup() as callers:
                for _ in range(concurrency):
                    callers.create_task(self._ask_until(end, answers))
        except* (ServerFailureError, ComplaintError) as errors:
            failure = str(errors.exceptions[0])
        minutes = self._seconds / 60
        shares = [(answer, answer.share_before(end)) for answer in answers]
        tokens = sum(answer.output_tokens for answer in answers)
        return Step(
            concurrency=concurrency,
            input_tokens_per_minute=sum(a.input_tokens * part for a, part in shares) / minutes,
            output_tokens_per_minute=sum(a.output_tokens * part for a, part in shares) / minutes,
            ms_per_token=1000 * sum(a.end - a.begin for a in answers) / max(1, tokens),
            failure=failure,
        )

    async def _ask_until(self, end: float, answers: list["_Answer"]) -> None:
        while (begin := self._loop.time()) < end:
            usage = await self._call()
            answers.append(
                _Answer(
                    begin=begin,
                    end=self._loop.time(),
                    input_tokens=_all_input(usage),
                    output_tokens=usage.output_tokens,
                )
            )

    async def _call(self) -> TokenUsage:
        candidate = self._candidate
        asked = question(candidate.served_as, self._shape, next(self._numbers))
        call = self._dialect.call(asked, candidate.served_as, candidate.capabilities)
        reader = self._dialect.reader(asked)
        events: list[ModelEvent] = []
        async with candidate.server.open(call) as chunks:
            async for chunk in chunks:
                events += reader.feed(chunk)
        events += reader.end()
        return _usage(events)


def question(model_id: str, shape: Shape, number: int) -> ConverseRequest:
    """No two begin alike: a server's cache of beginnings would make its work look easy."""
    words = " ".join(f"{number * 7919 + i * 31 % 997}" for i in range(shape.input_tokens // 4))
    text = f"{number}. Go on with these numbers, as many as you can, without a word: {words}"
    return ConverseRequest(
        model_id=model_id,
        messages=[Message(role="user", content=[ContentBlock(text=text)])],
        inference_config=InferenceConfiguration(max_tokens=shape.output_tokens),
    )


class _Answer(Struct, frozen=True, kw_only=True):
    begin: float
    end: float
    input_tokens: int
    output_tokens: int

    def share_before(self, moment: float) -> float:
        """The part of its time that lies before the moment."""
        return min(1.0, (moment - self.begin) / max(1e-9, self.end - self.begin))


def _usage(events: Sequence[ModelEvent]) -> TokenUsage:
    for event in reversed(events):
        if isinstance(event, TokenUsage):
            return event
        if isinstance(event, ConverseStreamMetadataEvent):
            return event.usage
    return TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)


def _all_input(usage: TokenUsage) -> int:
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_write_input_tokens or 0)
    return usage.input_tokens + cached
