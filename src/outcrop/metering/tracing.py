"""Traces: one span for each invocation, and below it one for each server that was asked.

Names are OpenTelemetry's for generative AI. What callers and models say is never part of a span.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.model_server import Answering
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.measures import operation_name, profile_id
from outcrop.metering.recording import CANCELLED, Ending
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from outcrop.wire.timestamps import Clock, to_micros

PROVIDER = "aws.bedrock"

_W3C = TraceContextTextMapPropagator()


class Tracing:
    """An Observer. Spans of callers who send a `traceparent` are below theirs."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock

    def began(self, invocation: ModelInvocation) -> None:
        span = self._tracer.start_span(
            invocation.operation,
            context=_W3C.extract(invocation.headers, context=Context()),
            kind=SpanKind.SERVER,
            start_time=_nanos(invocation.began_at),
        )
        invocation.trace = InvocationTrace(self._tracer, span, invocation, self._clock)

    def ended(self, invocation: ModelInvocation, ending: Ending) -> None:
        trace = invocation.trace
        if isinstance(trace, InvocationTrace):
            trace.end(ending)


class InvocationTrace:
    """Follows an invocation from server to server."""

    def __init__(
        self, tracer: Tracer, span: Span, invocation: ModelInvocation, clock: Clock
    ) -> None:
        self._tracer = tracer
        self._span = span
        self._invocation = invocation
        self._clock = clock

    def attempt(self, server: Answering, served_as: str) -> "AttemptTrace":
        operation = operation_name(self._invocation)
        span = self._tracer.start_span(
            f"{operation} {served_as}",
            context=set_span_in_context(self._span, Context()),
            kind=SpanKind.CLIENT,
            start_time=_nanos(self._clock()),
        )
        if span.is_recording():
            span.set_attribute("gen_ai.operation.name", operation)
            span.set_attributes(dict(_of_server(server, served_as)))
        return AttemptTrace(span, self._clock)

    def end(self, ending: Ending) -> None:
        span, invocation = self._span, self._invocation
        if span.is_recording():
            if invocation.model_id is not None:
                span.update_name(f"{operation_name(invocation)} {invocation.model_id}")
            span.set_attributes(dict(_of_invocation(invocation)))
            span.set_attributes(dict(_of_ending(ending)))
            if ending.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end(_nanos(ending.at))


class AttemptTrace:
    """One server's turn; its calls carry `headers`."""

    def __init__(self, span: Span, clock: Clock) -> None:
        self._span = span
        self._clock = clock
        headers: dict[str, str] = {}
        _W3C.inject(headers, context=set_span_in_context(span, Context()))
        self.headers: Mapping[str, str] = headers

    def failed(self, error: BaseException) -> None:
        if not self._span.is_recording():
            return
        if not isinstance(error, ServerFailureError):
            # What stopped it came from our side: the client left, or the request was no good.
            left = not isinstance(error, Exception)
            self._span.set_attribute("error.type", CANCELLED if left else type(error).__name__)
            return
        if error.status is not None:
            self._span.set_attribute("http.response.status_code", error.status)
        self._span.set_attribute("error.type", str(error.status or error.kind))
        self._span.set_status(Status(StatusCode.ERROR, str(error.kind)))

    def ended(self) -> None:
        self._span.end(_nanos(self._clock()))


def _of_server(server: Answering, served_as: str) -> Iterator[tuple[str, AttributeValue]]:
    yield "gen_ai.request.model", served_as
    yield "outcrop.model_server", server.name
    address = server.state.address
    if address is not None:
        yield "server.address", address.host
        yield "server.port", address.port


def _of_invocation(invocation: ModelInvocation) -> Iterator[tuple[str, AttributeValue]]:
    yield "gen_ai.operation.name", operation_name(invocation)
    yield "gen_ai.provider.name", PROVIDER
    yield "gen_ai.request.stream", invocation.streamed
    yield "rpc.service", "bedrock-runtime"
    yield "rpc.method", invocation.operation
    yield "aws.request_id", invocation.request_id
    yield "cloud.account.id", invocation.caller.account_id
    yield "cloud.region", invocation.caller.region
    arn = invocation.inference_profile_arn
    told = {
        "gen_ai.request.model": invocation.model_id,
        "gen_ai.response.model": invocation.foundation_model_id,
        "gen_ai.response.time_to_first_chunk": _first_event_s(invocation),
        "outcrop.inference_profile": profile_id(arn) if arn else None,
        "outcrop.inference_region": invocation.inference_region,
        "outcrop.provisioned_model": invocation.provisioned_model_arn,
        "outcrop.service_tier": invocation.resolved_service_tier or invocation.service_tier,
        "outcrop.spilled_over": invocation.spilled_over or None,
    }
    yield from ((name, value) for name, value in told.items() if value is not None)
    if invocation.usage is not None:
        yield from _of_usage(invocation.usage)


def _of_usage(usage: TokenUsage) -> Iterator[tuple[str, AttributeValue]]:
    yield "gen_ai.usage.input_tokens", usage.input_tokens
    yield "gen_ai.usage.output_tokens", usage.output_tokens
    if usage.cache_read_input_tokens is not None:
        yield "gen_ai.usage.cache_read.input_tokens", usage.cache_read_input_tokens
    if usage.cache_write_input_tokens is not None:
        yield "gen_ai.usage.cache_creation.input_tokens", usage.cache_write_input_tokens


def _of_ending(ending: Ending) -> Iterator[tuple[str, AttributeValue]]:
    yield "http.response.status_code", ending.status
    if ending.error is not None:
        yield "error.type", ending.error


def _first_event_s(invocation: ModelInvocation) -> float | None:
    first = invocation.first_event_at
    return None if first is None else max((first - invocation.began_at).total_seconds(), 0.0)


def _nanos(moment: datetime) -> int:
    return to_micros(moment) * 1_000
