"""InvokeModel and its stream: a vendor's own body in, that vendor's own answer out."""

from collections import deque
from datetime import datetime
from typing import Self
from uuid import uuid4

from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.dialects.dialect import ModelEvent, StopDetail
from outcrop.runtime.embeddings import Embedded, Embeddings
from outcrop.runtime.events import Events
from outcrop.runtime.families.embedding_table import embedding_family_of
from outcrop.runtime.families.family import Answer, Family, Invocation, Metrics, Writer
from outcrop.runtime.families.table import family_of
from outcrop.runtime.inference import Inference, let_others
from outcrop.runtime.message import collected
from outcrop.runtime.native_request import JSON, Request, check, note
from outcrop.runtime.target import Target
from outcrop.wire.errors import (
    ModelStreamErrorException,
    ModelTimeoutException,
    ValidationException,
)
from outcrop.wire.shapes.bedrock_runtime import (
    ConverseStreamMetadataEvent,
    InvokeModelRequest,
    InvokeModelResponse,
    InvokeModelWithResponseStreamRequest,
    InvokeModelWithResponseStreamResponse,
    PayloadPart,
    TokenUsage,
)
from outcrop.wire.timestamps import Clock, to_micros


class InvokeModel:
    def __init__(self, inference: Inference, embeddings: Embeddings, *, clock: Clock) -> None:
        self._inference = inference
        self._embeddings = embeddings
        self._clock = clock

    async def invoke_model(
        self, invocation: ModelInvocation, request: InvokeModelRequest
    ) -> InvokeModelResponse:
        timer = _Timer(self._clock)
        note(invocation, request)
        check(request)
        invocation.service_tier = request.service_tier
        target = await self._inference.target(invocation, request.model_id)
        native = _native(request, target, timer)
        await let_others(invocation)
        embedding = embedding_family_of(target.foundation_model.native_model_id)
        if embedding is not None:
            embedded = await self._embeddings.invoke(invocation, target, embedding, native)
            return _embedded(embedded, request, timer)
        return await self._answered(invocation, request, target, native, timer)

    async def invoke_model_with_response_stream(
        self, invocation: ModelInvocation, request: InvokeModelWithResponseStreamRequest
    ) -> "Chunks":
        """Returns when the first event is here. Whoever gets the chunks closes them."""
        timer = _Timer(self._clock)
        note(invocation, request)
        check(request)
        invocation.service_tier = request.service_tier
        target = await self._inference.target(invocation, request.model_id)
        native = _native(request, target, timer)
        await let_others(invocation)
        family = _streaming_family(target)
        asked = family.asked(native.body, request.model_id, streaming=True)
        events = await self._inference.events(invocation, request.model_id, asked, target=target)
        head = InvokeModelWithResponseStreamResponse(
            content_type=JSON,
            performance_config_latency=request.performance_config_latency,
            service_tier=request.service_tier,
        )
        return Chunks(events, family.writer(native), head=head, timer=timer)

    async def _answered(
        self,
        invocation: ModelInvocation,
        request: InvokeModelRequest,
        target: Target,
        native: Invocation,
        timer: "_Timer",
    ) -> InvokeModelResponse:
        family = _family(target)
        asked = family.asked(native.body, request.model_id, streaming=False)
        events = await self._inference.events(
            invocation, request.model_id, asked, target=target, whole=True
        )
        try:
            answer = await _answer(events)
        finally:
            await events.aclose()
        usage = answer.usage
        return InvokeModelResponse(
            body=family.response(answer, native),
            content_type=JSON,
            performance_config_latency=request.performance_config_latency,
            service_tier=request.service_tier,
            invocation_latency=timer.elapsed_ms(),
            input_token_count=usage.input_tokens,
            output_token_count=usage.output_tokens,
            cache_read_input_token_count=usage.cache_read_input_tokens,
            cache_write_input_token_count=usage.cache_write_input_tokens,
        )


class Chunks:
    """A native stream that has begun. An iterator, so that closing it works unread, too."""

    def __init__(
        self,
        events: Events,
        writer: Writer,
        *,
        head: InvokeModelWithResponseStreamResponse,
        timer: "_Timer",
    ) -> None:
        self.head = head
        self._events = events
        self._writer = writer
        self._timer = timer
        self._first_byte_ms = timer.elapsed_ms()
        self._waiting: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PayloadPart:
        while not self._waiting:
            self._write(await self._next_event())
        return PayloadPart(bytes=self._waiting.popleft())

    async def aclose(self) -> None:
        await self._events.aclose()

    async def _next_event(self) -> ModelEvent:
        try:
            return await self._events.next_event()
        except ModelStreamErrorException as error:
            # Unlike Converse's, this stream has an exception for it.
            if error.members.get("originalStatusCode") == ModelTimeoutException.status:
                message = str(error.members["originalMessage"])
                raise ModelTimeoutException(message) from error
            raise

    def _write(self, event: ModelEvent) -> None:
        if isinstance(event, ConverseStreamMetadataEvent):
            self._waiting.extend(self._writer.feed(event.usage))
            self._waiting.extend(self._writer.end(self._metrics(event.usage)))
        else:
            self._waiting.extend(self._writer.feed(event))

    def _metrics(self, usage: TokenUsage) -> Metrics:
        return Metrics(
            input_token_count=usage.input_tokens,
            output_token_count=usage.output_tokens,
            invocation_latency=self._timer.elapsed_ms(),
            first_byte_latency=self._first_byte_ms,
            cache_read_input_token_count=usage.cache_read_input_tokens,
            cache_write_input_token_count=usage.cache_write_input_tokens,
        )


class _Timer:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.since: datetime = clock()

    def elapsed_ms(self) -> int:
        return (to_micros(self._clock()) - to_micros(self.since)) // 1000


async def _answer(events: Events) -> Answer:
    told = await events.rest()
    response = collected(told)
    details = [event.stop_sequence for event in told if isinstance(event, StopDetail)]
    message = response.output.message
    return Answer(
        content=[] if message is None else message.content,
        stop_reason=response.stop_reason,
        stop_sequence=details[-1] if details else None,
        usage=response.usage,
    )


def _native(request: Request, target: Target, timer: _Timer) -> Invocation:
    return Invocation(
        model_id=request.model_id,
        foundation_model_id=target.foundation_model.native_model_id,
        body=request.body or b"",
        invocation_id=uuid4().hex,
        created=to_micros(timer.since) // 1_000_000,
    )


def _family(target: Target) -> Family:
    model = target.foundation_model
    family = family_of(model.native_model_id)
    if family is None and model.converses:
        raise ValidationException(
            f"Outcrop does not know the request body of {model.model_id}. Use Converse for it."
        )
    if family is None or not model.converses:
        raise ValidationException(
            "This action doesn't support the model that you provided. Try again with a supported"
            " text or chat model."
        )
    if not target.pools:
        raise target.served_by_nobody
    return family


def _streaming_family(target: Target) -> Family:
    embeds = embedding_family_of(target.foundation_model.native_model_id) is not None
    if embeds or not target.foundation_model.response_streaming_supported:
        # Amazon's sentence (GH:aws-samples/amazon-bedrock-client-for-mac#112).
        raise ValidationException("The model is unsupported for streaming.")
    return _family(target)


def _embedded(
    embedded: Embedded, request: InvokeModelRequest, timer: _Timer
) -> InvokeModelResponse:
    return InvokeModelResponse(
        body=embedded.body,
        content_type=JSON,
        performance_config_latency=request.performance_config_latency,
        service_tier=request.service_tier,
        invocation_latency=timer.elapsed_ms(),
        input_token_count=embedded.input_tokens,
    )
