"""OpenTelemetry: a trace crosses from a client through Outcrop to model servers, and arrives."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.clients.scripted_server import ScriptedServer, scripted_server
from tests.conformance.signing import Signer
from tests.fakes.model_server import url_that_refuses
from tests.fakes.otlp_receiver import OtlpReceiver, attributes, otlp_receiver
from tests.outcrop_process import outcrop_process
from tests.server.serving import workers

MODEL = "amazon.nova-lite-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}"
TRACE_ID, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "50"}

pytestmark = pytest.mark.slow


def configuration(servers: Sequence[str], collector: str = "", *, what: str = "traces") -> str:
    tables = "".join(
        f'[[model_servers]]\nname = "gpu-{at}"\nurl = "{url}"\ndiscover = false\n'
        f'models = {{ "{MODEL}" = "m" }}\n'
        for at, url in enumerate(servers)
    )
    endpoint = f'endpoint = "{collector}"\n' if collector else ""
    return f"[embedded]\nenabled = false\n[telemetry]\n{what} = true\n{endpoint}{tables}"


def ask(signer: Signer, text: str, operation: str = "converse", *, flags: str = "01") -> int:
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()
    headers = {
        "content-type": "application/json",
        "traceparent": f"00-{TRACE_ID}-{CALLERS_SPAN}-{flags}",
        "tracestate": "vendor=opaque",
    }
    return signer.ask("POST", f"{PATH}/{operation}", body, headers=headers).status


def spans_of(
    tmp_path: Path, collector: OtlpReceiver, model_server: ScriptedServer, text: str, number: int
) -> list[Span]:
    config = configuration([model_server.url], collector.url)
    with outcrop_process(tmp_path / "state", config=config, environment=FAST) as server:
        ask(Signer(server), text)
        return collector.spans_once(number, within_s=10)


def test_a_trace_crosses_from_the_client_to_the_model_server(tmp_path: Path) -> None:
    with otlp_receiver() as collector, scripted_server() as model_server:
        spans = spans_of(tmp_path, collector, model_server, "hello", 2)

        attempt, invocation = sorted(spans, key=lambda span: span.kind, reverse=True)
        assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
        assert invocation.parent_span_id.hex() == CALLERS_SPAN
        assert attempt.parent_span_id == invocation.span_id
        assert model_server.headers[-1]["traceparent"] == (
            f"00-{TRACE_ID}-{attempt.span_id.hex()}-01"
        )
        assert model_server.headers[-1]["tracestate"] == "vendor=opaque"
        assert next(collector.resources())["service.name"] == "outcrop"


def test_spans_say_what_opentelemetry_wants_of_generative_ai(tmp_path: Path) -> None:
    with otlp_receiver() as collector, scripted_server() as model_server:
        spans = spans_of(tmp_path, collector, model_server, "hello", 2)

        attempt, invocation = sorted(spans, key=lambda span: span.kind, reverse=True)
        told = attributes(invocation.attributes)
        assert (invocation.kind, attempt.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
        assert (invocation.name, attempt.name) == (f"chat {MODEL}", "chat m")
        assert {name: told[name] for name in told if name.startswith("gen_ai")} == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "aws.bedrock",
            "gen_ai.request.model": MODEL,
            "gen_ai.request.stream": False,
            "gen_ai.response.model": MODEL,
            "gen_ai.response.time_to_first_chunk": told["gen_ai.response.time_to_first_chunk"],
            "gen_ai.usage.input_tokens": 11,
            "gen_ai.usage.output_tokens": 7,
        }
        assert (told["rpc.method"], told["cloud.region"]) == ("Converse", "us-east-1")
        assert attributes(attempt.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "outcrop.model_server": "gpu-0",
            "server.address": "127.0.0.1",
            "server.port": model_server.server_port,
        }
        assert invocation.start_time_unix_nano <= attempt.start_time_unix_nano
        assert attempt.end_time_unix_nano <= invocation.end_time_unix_nano + 50_000_000


def test_every_server_that_was_asked_has_a_span_and_failures_their_type(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with otlp_receiver() as collector, scripted_server() as model_server:
        config = configuration([url_that_refuses(), model_server.url], collector.url)
        with outcrop_process(state, config=config, environment=FAST) as server:
            signer = Signer(server)
            asked = 0
            while not any(span.name == "chat m" and span.status.code for span in collector.spans):
                assert ask(signer, "hello") == 200
                asked += 1
                assert asked < 50, "the server that refuses was never asked"
                collector.spans_once(2 * asked, within_s=0.2)
            failed = next(span for span in collector.spans if span.status.code)
            siblings = [
                span for span in collector.spans if span.parent_span_id == failed.parent_span_id
            ]

    assert attributes(failed.attributes)["error.type"] == "refused"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert len(siblings) == 2
    assert [attributes(span.attributes)["outcrop.model_server"] for span in siblings] == [
        "gpu-0",
        "gpu-1",
    ]


def test_an_error_is_told_by_amazons_name(tmp_path: Path) -> None:
    with otlp_receiver() as collector, scripted_server() as model_server:
        spans = spans_of(tmp_path, collector, model_server, "Answer 500.", 2)

        attempt, invocation = sorted(spans, key=lambda span: span.kind, reverse=True)
        told = attributes(invocation.attributes)
        assert told["error.type"] == "ModelErrorException"
        assert told["http.response.status_code"] == 424
        assert attributes(attempt.attributes)["error.type"] == "500"


def test_a_stream_that_breaks_off_is_an_error_of_both_spans(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with otlp_receiver() as collector, scripted_server() as model_server:
        config = configuration([model_server.url], collector.url)
        with outcrop_process(state, config=config, environment=FAST) as server:
            ask(Signer(server), "Break off.", "converse-stream")
            spans = collector.spans_once(2, within_s=10)

    attempt, invocation = sorted(spans, key=lambda span: span.kind, reverse=True)
    assert attributes(attempt.attributes)["error.type"] == "broke off"
    assert attributes(invocation.attributes)["error.type"] == "ModelStreamErrorException"
    assert attributes(invocation.attributes)["gen_ai.request.stream"] is True


def test_what_the_caller_does_not_sample_is_not_sent_and_is_passed_on(tmp_path: Path) -> None:
    with otlp_receiver() as collector, scripted_server() as model_server:
        config = configuration([model_server.url], collector.url)
        with outcrop_process(tmp_path / "state", config=config, environment=FAST) as server:
            ask(Signer(server), "hello", flags="00")
        # It has ended: whatever there was to send has been sent.

        assert collector.spans == []
        assert model_server.headers[-1]["traceparent"].startswith(f"00-{TRACE_ID}-")
        assert model_server.headers[-1]["traceparent"].endswith("-00")


def test_metrics_arrive_when_the_server_ends_at_the_latest(tmp_path: Path) -> None:
    with otlp_receiver() as collector, scripted_server() as model_server:
        config = configuration([model_server.url], what="metrics")
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with outcrop_process(tmp_path / "state", config=config, environment=environment) as server:
            for _ in range(3):
                assert ask(Signer(server), "hello") == 200
            assert server.stop() == 0

        metrics = collector.last_metrics()
        duration = metrics["gen_ai.server.request.duration"].histogram.data_points[0]
        tokens = {
            attributes(point.attributes)["gen_ai.token.type"]: (point.count, point.sum)
            for point in metrics["gen_ai.client.token.usage"].histogram.data_points
        }
        assert duration.count == 3
        assert attributes(duration.attributes)["gen_ai.request.model"] == MODEL
        assert tokens == {"input": (3, 33.0), "output": (3, 21.0)}


def test_a_collector_that_is_not_there_delays_neither_answers_nor_the_end(tmp_path: Path) -> None:
    with scripted_server() as model_server:
        config = configuration([model_server.url], url_that_refuses().removesuffix("/v1"))
        with outcrop_process(tmp_path / "state", config=config) as server:
            assert ask(Signer(server), "hello") == 200
            assert server.stop() == 0


def test_without_telemetry_nothing_of_it_is_passed_on_or_imported(tmp_path: Path) -> None:
    with scripted_server() as model_server:
        config = configuration([model_server.url]).replace("traces = true\n", "")
        with outcrop_process(tmp_path / "state", config=config) as server:
            ask(Signer(server), "hello")
            (worker,) = workers(server)
            mapped = Path(f"/proc/{worker}/maps").read_text()

        assert "traceparent" not in model_server.headers[-1]
        assert "google/_upb" not in mapped


def test_the_extra_is_asked_for_by_name_where_it_is_missing(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None;"
        "from outcrop.server.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "serve"]

    with (
        pytest.raises(AssertionError, match=r"pip install 'outcrop\[otel\]'"),
        outcrop_process(tmp_path / "state", config="[telemetry]\ntraces = true\n", command=command),
    ):
        pass
