"""boto3 asks CloudWatch for what only the runtime and the log know: quotas, model units, logs."""

import gzip
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.boto3_client import client_of
from tests.clients.scripted_server import USAGE, scripted_server
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = pytest.mark.slow

NOVA, BASE = "amazon.nova-lite-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"
CLAUDE = f"us.{BASE}"
INPUT, OUTPUT = USAGE["prompt_tokens"], USAGE["completion_tokens"]
LOGS = {"s3Config": {"bucketName": "logs"}}


def configuration(url: str, more: str) -> str:
    return f"""
[embedded]
enabled = false
[[model_servers]]
name = "gpu"
url = "{url}"
models = {{ "{NOVA}" = "m", "{BASE}" = "m" }}
{more}
"""


UNITS = f"""
model_units = {{ "{NOVA}" = 10 }}
[provisioned_throughput]
creating_s = 0
[[model_units]]
model = "{NOVA}"
input_tokens_per_minute = 100
output_tokens_per_minute = 70
"""


def say(server: OutcropProcess, model_id: str) -> None:
    client_of(server, "bedrock-runtime").converse(
        modelId=model_id,
        messages=[{"role": "user", "content": [{"text": "hello"}]}],
        inferenceConfig={"maxTokens": 10},
    )


def summed(server: OutcropProcess, metric: str, **dimensions: str) -> float:
    """Over the last hour, by GetMetricStatistics."""
    now = datetime.now(UTC)
    answer = client_of(server, "cloudwatch").get_metric_statistics(
        Namespace="AWS/Bedrock",
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in answer["Datapoints"]))


def becomes(look: Callable[[], float], value: float) -> float:
    """What it is, as soon as it is that; what it is by then, otherwise."""
    eventually(lambda: look() == value)
    return look()


def bought(server: OutcropProcess) -> str:
    """Two units."""
    bedrock = client_of(server, "bedrock")
    arn: str = bedrock.create_provisioned_model_throughput(
        provisionedModelName="units", modelId=NOVA, modelUnits=2
    )["provisionedModelArn"]
    status = bedrock.get_provisioned_model_throughput(provisionedModelId=arn)["status"]
    assert status == "InService"
    return arn


def test_quotas_count_output_of_claude_five_times_and_units_are_used_by_their_share(
    tmp_path: Path,
) -> None:
    with scripted_server() as model_server:
        config = configuration(model_server.url, UNITS)
        with outcrop_process(tmp_path / "state", config=config) as server:
            arn = bought(server)
            for model_id in (NOVA, CLAUDE, CLAUDE, arn, arn):
                say(server, model_id)

            def quota(model_id: str) -> float:
                return summed(server, "EstimatedTPMQuotaUsage", ModelId=model_id)

            assert becomes(lambda: quota(CLAUDE), 2 * (INPUT + 5 * OUTPUT)) == 2 * 46
            assert quota(NOVA) == INPUT + OUTPUT
            # Two units: 200 tokens a minute in, 140 out.
            used = becomes(lambda: summed(server, "ProvisionedInputUtilization", ModelId=arn), 11)
            assert used == pytest.approx(2 * 100 * INPUT / 200)
            out = summed(server, "ProvisionedOutputUtilization", ModelId=arn)
            assert out == pytest.approx(2 * 100 * OUTPUT / 140)
            assert summed(server, "ProvisionedInputUtilization", ModelId=NOVA) == 0


def paged(server: OutcropProcess, **asked: Any) -> tuple[Mapping[str, list[float]], int]:
    """By the query's id, put together of all pages; how many pages there were."""
    pages = client_of(server, "cloudwatch").get_paginator("get_metric_data").paginate(**asked)
    values: dict[str, list[float]] = {}
    number = 0
    for page in pages:
        number += 1
        for result in page["MetricDataResults"]:
            values.setdefault(result["Id"], []).extend(result["Values"])
    return values, number


def files(folder: Path) -> list[Path]:
    return list(folder.rglob("*Z_*.json.gz"))


def logged(folder: Path) -> int:
    """How many records there are."""
    return sum(len(gzip.decompress(path.read_bytes()).splitlines()) for path in files(folder))


def says_and_is_logged(server: OutcropProcess, folder: Path, before: int) -> bool:
    say(server, NOVA)
    return logged(folder) > before


def test_deliveries_of_logs_are_counted_by_all_workers_and_stay_after_a_restart(
    tmp_path: Path,
) -> None:
    state, folder = tmp_path / "state", tmp_path / "buckets"
    with scripted_server() as model_server:
        logging = f'[invocation_logging]\nfolder = "{folder}"\nbatch_s = 0.2'
        config = configuration(model_server.url, logging)
        success, failure = (f"ModelInvocationLogsS3Delivery{how}" for how in ("Success", "Failure"))
        with outcrop_process(state, config=config, arguments=["--workers", "2"]) as server:
            bedrock = client_of(server, "bedrock")
            bedrock.put_model_invocation_logging_configuration(loggingConfig=LOGS)
            for _ in range(4):  # until both workers know of it, and one of them has logged
                before = logged(folder)
                assert eventually(lambda: says_and_is_logged(server, folder, before))  # noqa: B023
            assert eventually(lambda: summed(server, success) == len(files(folder)))
        delivered = len(files(folder))

        # The bucket becomes a file: nothing can be put into it.
        (folder / "logs").rename(folder / "before")
        (folder / "logs").write_text("")
        with outcrop_process(state, config=config) as server:
            say(server, NOVA)
            assert becomes(lambda: float(summed(server, failure) >= 1), 1) == 1
            # What came while the server before was stopping is counted too.
            assert summed(server, success) == delivered
            listed = client_of(server, "cloudwatch").list_metrics(MetricName=failure)["Metrics"]
            assert listed == [{"Namespace": "AWS/Bedrock", "MetricName": failure, "Dimensions": []}]
            now = datetime.now(UTC)
            queries = [
                {
                    "Id": name,
                    "MetricStat": {
                        "Metric": {"Namespace": "AWS/Bedrock", "MetricName": metric},
                        "Period": 60,
                        "Stat": "Sum",
                    },
                }
                for name, metric in (("arrived", success), ("failed", failure))
            ]
            found, pages = paged(
                server,
                MetricDataQueries=[*queries, {"Id": "all", "Expression": "SUM(METRICS())"}],
                StartTime=now - timedelta(hours=1),
                EndTime=now + timedelta(minutes=1),
                ScanBy="TimestampAscending",
                MaxDatapoints=1,
                LabelOptions={"Timezone": "+0200"},
            )
    assert sum(found["arrived"]) == delivered
    assert sum(found["failed"]) >= 1
    assert pages >= 3
