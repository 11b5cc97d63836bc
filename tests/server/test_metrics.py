"""/metrics of a running server: what it says, of all workers, and to whom."""

import http.client
import json
import os
import signal
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.clients.scripted_server import scripted_server
from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.serving import workers
from tests.server.wire import Answer
from tests.waiting import eventually

MODEL = "amazon.nova-lite-v1:0"
PATH = f"/model/{MODEL.replace(':', '%3A')}"
DURATION = "gen_ai_server_request_duration_seconds"

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def configuration(url: str, port: int, more: str = "") -> str:
    return f"""
log_level = "error"
[embedded]
enabled = false
[metrics]
listen = "127.0.0.1:{port}"
{more}
[[model_servers]]
name = "gpu"
url = "{url}"
models = {{ "{MODEL}" = "m" }}
"""


def ask(server: OutcropProcess, text: str, operation: str = "converse") -> int:
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()
    headers = {"content-type": "application/json"}
    return Signer(server).ask("POST", f"{PATH}/{operation}", body, headers=headers).status


def get(port: int, path: str = "/metrics", method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, answer.read())
    finally:
        connection.close()


def scraped(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = get(port)
    assert answer.status == 200, answer
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def total(
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str
) -> float:
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)


@contextmanager
def measured(tmp_path: Path, port: int, *, workers: int) -> Generator[OutcropProcess]:
    """With a scripted model server behind it, and its page on `port`."""
    with (
        scripted_server() as model_server,
        outcrop_process(
            tmp_path / "state",
            config=configuration(model_server.url, port),
            arguments=["--workers", f"{workers}"],
        ) as server,
    ):
        yield server


def test_all_workers_are_told_of_together(tmp_path: Path) -> None:
    port = free_port()
    with measured(tmp_path, port, workers=3) as server:
        for _ in range(20):
            assert ask(server, "hello") == 200
        assert ask(server, "hello", "converse-stream") == 200
        assert ask(server, "Answer 429.") == 429
        assert ask(server, "Answer 400.") == 400
        samples = scraped(port)

    count = f"{DURATION}_count"
    assert total(samples, count) == 23
    assert total(samples, count, rpc_method="ConverseStream") == 1
    assert total(samples, count, error_type="ThrottlingException") == 1
    assert total(samples, count, http_response_status_class="4xx", cloud_region="us-east-1") == 2
    assert total(samples, count, gen_ai_request_model=MODEL) == 23
    assert total(samples, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 21 * 11
    assert total(samples, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 21 * 7
    assert total(samples, "gen_ai_server_time_to_first_token_seconds_count") == 21
    assert total(samples, "outcrop_requests_total", http_response_status_code="200") == 21
    assert total(samples, "outcrop_model_server_healthy", outcrop_model_server="gpu") in {0, 1}
    assert total(samples, "outcrop_invocations_in_progress") == 0


def test_what_is_no_request_of_a_model_is_counted_too(tmp_path: Path) -> None:
    port = free_port()
    with (
        scripted_server() as model_server,
        outcrop_process(tmp_path / "state", config=configuration(model_server.url, port)) as server,
    ):
        Signer(server).ask("GET", "/inference-profiles")
        get(server.port, "/inference-profiles")
        get(server.port, "/nowhere")
        samples = scraped(port)

    listed = "ListInferenceProfiles"
    requests = "outcrop_requests_total"
    assert total(samples, requests, rpc_method=listed, http_response_status_code="200") == 1
    assert total(samples, requests, rpc_method=listed, http_response_status_code="403") == 1
    assert total(samples, requests) == 3


def test_a_profile_is_told_by_its_id_until_there_are_too_many(tmp_path: Path) -> None:
    port = free_port()
    with (
        scripted_server() as model_server,
        outcrop_process(
            tmp_path / "state",
            config=configuration(model_server.url, port, "most_profiles = 1"),
        ) as server,
    ):
        first, second = (_new_profile(server, name) for name in ("first", "second"))
        for arn in (first, first, second):
            assert _ask_through(server, arn) == 200
        samples = scraped(port)

    count = f"{DURATION}_count"
    assert total(samples, count, outcrop_inference_profile=first.rpartition("/")[2]) == 2
    assert total(samples, count, outcrop_inference_profile="other") == 1


def test_how_much_of_its_units_a_provisioned_model_uses(tmp_path: Path) -> None:
    port = free_port()
    units = f"""
[[model_units]]
model = "{MODEL}"
input_tokens_per_minute = 100000
output_tokens_per_minute = 100000
[provisioned_throughput]
creating_s = 0
"""
    with (
        scripted_server() as model_server,
        outcrop_process(
            tmp_path / "state",
            config=configuration(model_server.url, port) + units,
        ) as server,
    ):
        body = {"modelUnits": 2, "provisionedModelName": "bought", "modelId": MODEL}
        arn = _created(server, "/provisioned-model-throughput", body, "provisionedModelArn")
        _await_in_service(server, arn)
        assert _ask_through(server, arn) == 200
        samples = scraped(port)

    ratio = "outcrop_provisioned_utilization_ratio"
    of = {"outcrop_provisioned_model": arn}
    assert total(samples, ratio, gen_ai_token_type="input", **of) == 11 / 200_000
    assert total(samples, ratio, gen_ai_token_type="output", **of) == 7 / 200_000


def test_only_metrics_are_there_and_only_to_get(tmp_path: Path) -> None:
    port = free_port()
    with (
        scripted_server() as model_server,
        outcrop_process(tmp_path / "state", config=configuration(model_server.url, port)),
    ):
        statuses = get(port, "/inference-profiles").status, get(port, method="POST").status
        kind = get(port).headers["content-type"]

    assert statuses == (404, 405)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"


def test_a_worker_that_is_stuck_makes_the_page_fail_and_not_the_counters_fall(
    tmp_path: Path,
) -> None:
    port = free_port()
    with measured(tmp_path, port, workers=2) as server:
        assert ask(server, "hello") == 200
        _, second = workers(server)
        os.kill(second, signal.SIGSTOP)
        stuck = get(port).status
        os.kill(second, signal.SIGCONT)
        # The answer to the first question, late as it is, is not taken for that to the next.
        after = total(scraped(port), f"{DURATION}_count")

    assert (stuck, after) == (503, 1)


@pytest.mark.parametrize("lost", [0, 1])
def test_when_a_worker_is_lost_all_counters_begin_anew(tmp_path: Path, lost: int) -> None:
    """As after a restart. Were it only its own, the others' would be taken for new requests."""
    port = free_port()
    seen: list[float] = []
    with measured(tmp_path, port, workers=3) as server:
        for _ in range(12):
            assert ask(server, "hello") == 200
        seen.append(total(scraped(port), f"{DURATION}_count"))
        before = set(workers(server))
        os.kill(workers(server)[lost], signal.SIGKILL)
        assert eventually(lambda: len(set(workers(server)) - before) == 1)
        for number in (0, 3, 2):
            for _ in range(number):
                assert ask(server, "hello") == 200
            seen.append(total(scraped(port), f"{DURATION}_count"))
            seen.append(total(scraped(port), "outcrop_requests_total"))

    assert seen == [12, 0, 0, 3, 3, 5, 5]


def test_an_address_that_is_taken_is_said_at_the_start(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(AssertionError, match="cannot listen on 127"),
        outcrop_process(
            tmp_path / "state",
            config=configuration("http://127.0.0.1:1/v1", taken.getsockname()[1]),
        ),
    ):
        pass


def _new_profile(server: OutcropProcess, name: str) -> str:
    source = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
    body = {"inferenceProfileName": name, "modelSource": {"copyFrom": source}}
    return _created(server, "/inference-profiles", body, "inferenceProfileArn")


def _created(server: OutcropProcess, path: str, body: object, member: str) -> str:
    headers = {"content-type": "application/json"}
    answer = Signer(server).ask("POST", path, json.dumps(body).encode(), headers=headers)
    assert answer.status in {200, 201}, answer
    arn: str = json.loads(answer.body)[member]
    return arn


def _await_in_service(server: OutcropProcess, arn: str) -> None:
    path = f"/provisioned-model-throughput/{arn.rpartition('/')[2]}"
    signer = Signer(server)
    assert eventually(lambda: b'"InService"' in signer.ask("GET", path).body)


def _ask_through(server: OutcropProcess, arn: str) -> int:
    path = f"/model/{arn.replace(':', '%3A').replace('/', '%2F')}/converse"
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).encode()
    headers = {"content-type": "application/json"}
    return Signer(server).ask("POST", path, body, headers=headers).status
