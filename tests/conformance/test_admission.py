"""Quotas, model units and the queue, as the unmodified boto3 meets them."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.boto3_client import client_of
from tests.fakes.model_server import (
    Answers,
    FakeModelServer,
    StallsAfter,
    delta,
    in_thread,
    sse,
    usage,
)
from tests.outcrop_process import OutcropProcess, outcrop_process

pytestmark = pytest.mark.slow

MODEL = "amazon.nova-lite-v1:0"
SPILLOVER = "x-outcrop-spillover"
# Of 20 output tokens a minute: each answer uses them all.
ANSWER = Answers([sse(delta("Hello"), delta(finish_reason="stop"), usage(3, 20))])
MESSAGES = [{"role": "user", "content": [{"text": "hello"}]}]


@contextmanager
def serving(folder: Path, fake: FakeModelServer, more: str = "") -> Iterator[OutcropProcess]:
    config = f"""
    {more}
    [embedded]
    enabled = false
    [provisioned_throughput]
    creating_s = 0
    [[model_units]]
    model = "{MODEL}"
    input_tokens_per_minute = 1_000
    output_tokens_per_minute = 20
    [[model_servers]]
    name = "gpu"
    url = "{fake.url}"
    models = {{ "{MODEL}" = "m" }}
    model_units = {{ "{MODEL}" = 10 }}
    max_concurrency = 1
    """
    with outcrop_process(folder, config=config) as server:
        yield server


@pytest.fixture
def fake() -> Generator[FakeModelServer]:
    with in_thread(ANSWER) as found:
        yield found


def bought(server: OutcropProcess) -> str:
    bedrock = client_of(server, "bedrock")
    answer = bedrock.create_provisioned_model_throughput(
        provisionedModelName="units", modelId=MODEL, modelUnits=1
    )
    arn: str = answer["provisionedModelArn"]
    found = bedrock.get_provisioned_model_throughput(provisionedModelId=arn)
    assert found["status"] == "InService"
    return arn


def asks_for_spillover(client: Any) -> Any:
    client.meta.events.register(
        "before-sign.bedrock-runtime.*",
        lambda request, **_: request.headers.add_header(SPILLOVER, "on"),
    )
    return client


def converse(client: Any, model_id: str, max_tokens: int = 20) -> Any:
    return client.converse(
        modelId=model_id, messages=MESSAGES, inferenceConfig={"maxTokens": max_tokens}
    )


def refusal(call: Callable[[], Any]) -> tuple[str, int, dict[str, str]]:
    with pytest.raises(ClientError) as caught:
        call()
    metadata = caught.value.response["ResponseMetadata"]
    return (
        caught.value.response["Error"]["Code"],
        metadata["HTTPStatusCode"],
        metadata["HTTPHeaders"],
    )


def test_above_its_units_a_call_is_throttled_and_told_when_to_come_back(
    tmp_path: Path, fake: FakeModelServer
) -> None:
    with serving(tmp_path, fake) as server:
        runtime, arn = client_of(server, "bedrock-runtime"), bought(server)
        converse(runtime, arn)

        code, status, headers = refusal(lambda: converse(runtime, arn))

        assert (code, status) == ("ThrottlingException", 429)
        assert 0 < int(headers["retry-after"]) <= 61
        assert SPILLOVER not in headers


def test_where_the_request_says_so_it_is_served_on_demand_and_the_answer_says_it(
    tmp_path: Path, fake: FakeModelServer
) -> None:
    with serving(tmp_path, fake) as server:
        runtime = asks_for_spillover(client_of(server, "bedrock-runtime"))
        arn = bought(server)

        within = converse(runtime, arn)["ResponseMetadata"]["HTTPHeaders"]
        beyond = converse(runtime, arn)["ResponseMetadata"]["HTTPHeaders"]
        stream = runtime.converse_stream(modelId=arn, messages=MESSAGES)
        list(stream["stream"])
        streamed = stream["ResponseMetadata"]["HTTPHeaders"]

        assert SPILLOVER not in within
        assert (beyond[SPILLOVER], streamed[SPILLOVER]) == ("on", "on")


def test_what_spilled_over_and_was_refused_says_so_too(
    tmp_path: Path, fake: FakeModelServer
) -> None:
    with serving(tmp_path, fake, "[[quotas]]\nrequests_per_minute = 0") as server:
        runtime = asks_for_spillover(client_of(server, "bedrock-runtime"))
        arn = bought(server)
        converse(runtime, arn)

        code, _, headers = refusal(lambda: converse(runtime, arn))

        assert (code, headers[SPILLOVER]) == ("ThrottlingException", "on")


def test_who_waits_in_vain_is_told_when_to_come_back(tmp_path: Path, fake: FakeModelServer) -> None:
    fake.script = StallsAfter([sse(delta("Hello"))])
    with (
        serving(tmp_path, fake, "[admission]\nqueue_deadline_s = 0.2") as server,
        ThreadPoolExecutor() as threads,
    ):
        runtime = client_of(server, "bedrock-runtime")
        first = runtime.converse_stream(modelId=MODEL, messages=MESSAGES)
        second = threads.submit(refusal, lambda: converse(runtime, MODEL))

        code, status, headers = second.result()
        first["stream"].close()

        assert (code, status) == ("ServiceUnavailableException", 503)
        assert int(headers["retry-after"]) >= 1
