"""An OpenTelemetry collector on a real socket: decodes OTLP over HTTP, and keeps it."""

import gzip
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fakes.threads import serving
from tests.secrets_in_play import leaks


class OtlpReceiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.arrived = Condition()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def spans_once(self, number: int, *, within_s: float) -> list[Span]:
        """As soon as there are so many; after that time, those that there are."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.spans) >= number, within_s)
        return self.spans

    def last_metrics(self) -> dict[str, Metric]:
        return {
            metric.name: metric
            for resource in self.metrics[-1].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def resources(self) -> Iterator[dict[str, Any]]:
        for request in self.traces:
            for resource in request.resource_spans:
                yield attributes(resource.resource.attributes)


def attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


@contextmanager
def otlp_receiver() -> Generator[OtlpReceiver]:
    with serving(OtlpReceiver()) as server:
        yield server
    sent: list[Any] = [*server.traces, *server.metrics]
    told = leaks(b"".join(request.SerializeToString() for request in sent))
    assert not told, f"was sent to a collector: {', '.join(told)}"


def _value(pair: KeyValue) -> Any:
    return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OtlpReceiver

    def log_message(self, *_: object) -> None:
        """Nothing: what matters is kept."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with self.server.arrived:
            if self.path == "/v1/traces":
                self.server.traces.append(ExportTraceServiceRequest.FromString(body))
            else:
                assert self.path == "/v1/metrics"
                self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self.server.arrived.notify_all()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
