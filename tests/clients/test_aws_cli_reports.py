"""The unmodified AWS CLI asks what was used and spent, in every way that is answered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import json

from tests.clients.scripted_server import USAGE, scripted_server
from tests.clients.test_aws_cli import MESSAGES, Aws
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

MODEL = "amazon.nova-lite-v1:0"
INPUT, OUTPUT = USAGE["prompt_tokens"], USAGE["completion_tokens"]
# By the shipped prices: 0.06 and 0.24 dollars a million tokens.
PLAIN = ("USE1-nova-lite-v1:0-input-tokens", "USE1-nova-lite-v1:0-output-tokens")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    with scripted_server() as model_server:
        config = f"""
[embedded]
enabled = false
[[model_servers]]
name = "gpu"
url = "{model_server.url}"
models = {{ "{MODEL}" = "m" }}
"""
        with outcrop_process(tmp_path_factory.mktemp("outcrop"), config=config) as process:
            yield process


@pytest.fixture(scope="module")
def aws(server: OutcropProcess) -> Aws:
    return Aws(server)


@pytest.fixture(scope="module")
def profile(aws: Aws) -> str:
    """Its ARN; two calls through it and one beside it are in the store."""
    created = aws(
        *("bedrock", "create-inference-profile", "--inference-profile-name", "checkout"),
        *("--model-source", f"copyFrom=arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"),
        *("--tags", "key=team,value=checkout", "key=stage,value=prod"),
    )
    arn: str = created["inferenceProfileArn"]
    for model_id in (arn, arn, MODEL):
        aws("bedrock-runtime", "converse", "--model-id", model_id, "--messages", MESSAGES)
    assert eventually(lambda: sum(data(aws)["calls"]["Values"]) == 3)
    return arn


def period() -> str:
    today = datetime.now(UTC).date()
    return f"Start={today - timedelta(days=1)},End={today + timedelta(days=1)}"


def stat(id_: str, metric: str, **dimensions: str) -> dict[str, Any]:
    source = {
        "Namespace": "AWS/Bedrock",
        "MetricName": metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
    }
    return {"Id": id_, "MetricStat": {"Metric": source, "Period": 60, "Stat": "Sum"}}


def data(aws: Aws, *more: dict[str, Any], **options: str) -> dict[str, Any]:
    """Results by id: all calls, and what else is asked for."""
    now = datetime.now(UTC)
    queries = json.encode([stat("calls", "Invocations"), *more]).decode()
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    answer = aws(
        *("cloudwatch", "get-metric-data", "--metric-data-queries", queries),
        *("--start-time", f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:00Z}"),
        *("--end-time", f"{now + timedelta(minutes=1):%Y-%m-%dT%H:%M:00Z}"),
        *given,
    )
    found: dict[str, Any] = {}
    for result in answer["MetricDataResults"]:  # of all pages, one after the other
        before = found.setdefault(result["Id"], result)
        if before is not result:
            before["Values"] += result["Values"]
    return found


def test_metric_data_with_expressions_labels_and_order(aws: Aws, profile: str) -> None:
    mine = profile.rpartition("/")[2]
    found = data(
        aws,
        stat("mine", "Invocations", ModelId=mine),
        {
            **stat("tokens", "InputTokenCount", ModelId=mine),
            "Label": "${PROP('MetricName')} of ${PROP('Dim.ModelId')}",
        },
        {"Id": "each", "Expression": "SUM(tokens) / SUM(mine) + 0 * mine", "Label": "a call"},
        {**stat("hidden", "OutputTokenCount"), "ReturnData": False},
        **{"scan-by": "TimestampAscending", "label-options": "Timezone=+0200"},
    )

    assert sorted(found) == ["calls", "each", "mine", "tokens"]
    assert (sum(found["calls"]["Values"]), sum(found["mine"]["Values"])) == (3, 2)
    assert sum(found["tokens"]["Values"]) == 2 * INPUT
    assert set(found["each"]["Values"]) == {INPUT}
    assert [found[name]["Label"] for name in ("tokens", "each")] == [
        f"InputTokenCount of {mine}",
        "a call",
    ]
    times = found["mine"]["Timestamps"]
    assert times == sorted(times)


def test_metric_data_in_pages_is_all_of_it(aws: Aws, profile: str) -> None:
    found = data(aws, stat("tokens", "EstimatedTPMQuotaUsage"), **{"page-size": "1"})

    assert sum(found["calls"]["Values"]) == 3
    assert sum(found["tokens"]["Values"]) == 3 * (INPUT + OUTPUT)


def bill(aws: Aws, *more: str) -> dict[tuple[str, ...], float]:
    """What was used, by the keys of the groups."""
    answer = aws(
        *("ce", "get-cost-and-usage", "--granularity", "MONTHLY", "--time-period", period()),
        *("--metrics", "UsageQuantity", "UnblendedCost"),
        *more,
    )
    sums: dict[tuple[str, ...], float] = {}
    for result in answer["ResultsByTime"]:
        for group in result["Groups"]:
            keys = tuple(group["Keys"])
            amount = float(group["Metrics"]["UsageQuantity"]["Amount"])
            sums[keys] = sums.get(keys, 0) + amount
    return sums


TEAM = {"Tags": {"Key": "team", "Values": ["checkout"]}}
READ = {"Dimensions": {"Key": "USAGE_TYPE", "Values": [PLAIN[0]]}}
BY_TYPE = ("--group-by", "Type=DIMENSION,Key=USAGE_TYPE")


@pytest.mark.parametrize(
    ("expression", "used"),
    [
        (TEAM, (2 * INPUT, 2 * OUTPUT)),
        ({"Not": TEAM}, (INPUT, OUTPUT)),
        ({"And": [TEAM, READ]}, (2 * INPUT, 0)),
        ({"Or": [TEAM, READ]}, (3 * INPUT, 2 * OUTPUT)),
        ({"Dimensions": {"Key": "REGION", "Values": ["eu-west-1"]}}, (0, 0)),
    ],
)
def test_the_bill_is_filtered(
    aws: Aws, profile: str, expression: Any, used: tuple[int, int]
) -> None:
    found = bill(aws, "--filter", json.encode(expression).decode(), *BY_TYPE)

    assert tuple(found.get((kind,), 0) for kind in PLAIN) == used


def test_the_bill_is_split_by_two_keys(aws: Aws, profile: str) -> None:
    account = aws("sts", "get-caller-identity")["Account"]
    by_team = bill(aws, "--group-by", "Type=TAG,Key=team", "Type=DIMENSION,Key=USAGE_TYPE")
    by_who = bill(
        aws, "--group-by", "Type=TAG,Key=aws:PrincipalArn", "Type=DIMENSION,Key=LINKED_ACCOUNT"
    )
    by_where = bill(aws, "--group-by", "Type=DIMENSION,Key=REGION", "Type=DIMENSION,Key=SERVICE")
    by_what = bill(aws, "--group-by", "Type=DIMENSION,Key=RESOURCE_ID")
    everything = 3 * (INPUT + OUTPUT)

    assert by_team == {
        ("team$checkout", PLAIN[0]): 2 * INPUT,
        ("team$checkout", PLAIN[1]): 2 * OUTPUT,
        ("team$", PLAIN[0]): INPUT,
        ("team$", PLAIN[1]): OUTPUT,
    }
    assert by_who == {(f"aws:PrincipalArn$arn:aws:iam::{account}:root", account): everything}
    assert by_where == {("us-east-1", "Amazon Bedrock"): everything}
    assert by_what == {(profile,): everything * 2 / 3, ("",): everything / 3}


def test_a_cost_category_is_refused(aws: Aws, profile: str) -> None:
    done = aws.run(
        *("ce", "get-cost-and-usage", "--granularity", "MONTHLY", "--time-period", period()),
        *("--metrics", "UnblendedCost", "--group-by", "Type=COST_CATEGORY,Key=team"),
    )

    assert "(ValidationException)" in done.stderr
    assert "Group Definition type is invalid." in done.stderr


def test_every_dimension_and_tag_is_listed(aws: Aws, profile: str) -> None:
    account = aws("sts", "get-caller-identity")["Account"]
    listed = {
        name: [
            one["Value"]
            for one in aws(
                *("ce", "get-dimension-values", "--time-period", period()), "--dimension", name
            )["DimensionValues"]
        ]
        for name in (
            "SERVICE",
            "USAGE_TYPE",
            "REGION",
            "LINKED_ACCOUNT",
            "RESOURCE_ID",
            "RECORD_TYPE",
        )
    }
    tags = ("ce", "get-tags", "--time-period", period())

    assert listed == {
        "SERVICE": ["Amazon Bedrock"],
        "USAGE_TYPE": list(PLAIN),
        "REGION": ["us-east-1"],
        "LINKED_ACCOUNT": [account],
        "RESOURCE_ID": ["", profile],
        "RECORD_TYPE": ["Usage"],
    }
    assert aws(*tags)["Tags"] == ["aws:PrincipalArn", "stage", "team"]
    assert aws(*tags, "--search-string", "TEA")["Tags"] == ["team"]
    assert aws(*tags, "--tag-key", "team")["Tags"] == ["", "checkout"]
    untagged = json.encode({"Not": TEAM}).decode()
    assert aws(*tags, "--filter", untagged)["Tags"] == ["aws:PrincipalArn"]


def test_metrics_are_listed_by_name_and_dimension(aws: Aws, profile: str) -> None:
    mine = profile.rpartition("/")[2]
    listed = aws(
        *("cloudwatch", "list-metrics", "--namespace", "AWS/Bedrock"),
        *("--metric-name", "Invocations", "--dimensions", f"Name=ModelId,Value={mine}"),
    )["Metrics"]
    (statistics,) = aws(
        *("cloudwatch", "get-metric-statistics", "--namespace", "AWS/Bedrock"),
        *("--metric-name", "InvocationLatency", "--period", "86400"),
        *("--extended-statistics", "p50", "p99.9"),
        *("--dimensions", f"Name=ModelId,Value={mine}"),
        *("--start-time", f"{datetime.now(UTC):%Y-%m-%d}"),
        *("--end-time", f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"),
    )["Datapoints"]

    assert {"Name": "ModelId", "Value": mine} in listed[0]["Dimensions"]
    assert 0 < statistics["ExtendedStatistics"]["p50"] <= statistics["ExtendedStatistics"]["p99.9"]
