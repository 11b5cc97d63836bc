"""The unmodified boto3 asks CloudWatch, Cost Explorer and STS what was used, by whom."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.boto3_client import client_of
from tests.conformance.conftest import Client
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import once

pytestmark = pytest.mark.slow

MODEL = "amazon.nova-lite-v1:0"
MODEL_ARN = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    """Of its own: what others use is not on this bill."""
    with outcrop_process(tmp_path_factory.mktemp("outcrop")) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: OutcropProcess) -> Client:
    return partial(client_of, server)


class Used:
    """Two calls through a tagged profile, one of them a stream, and one that is refused."""

    def __init__(self, client: Client) -> None:
        with closing(client("bedrock")) as bedrock:
            created = bedrock.create_inference_profile(
                inferenceProfileName="checkout",
                modelSource={"copyFrom": MODEL_ARN},
                tags=[{"key": "team", "value": "checkout"}],
            )
        self.arn: str = created["inferenceProfileArn"]
        self.id = self.arn.rpartition("/")[2]
        asked = {
            "modelId": self.arn,
            "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
            "inferenceConfig": {"maxTokens": 5},
        }
        with closing(client("bedrock-runtime")) as runtime:
            plain = runtime.converse(**asked)["usage"]
            stream = list(runtime.converse_stream(**asked)["stream"])
            with pytest.raises(ClientError):
                runtime.converse(**{**asked, "messages": []})
        streamed = next(event["metadata"]["usage"] for event in stream if "metadata" in event)
        self.input_tokens = plain["inputTokens"] + streamed["inputTokens"]
        self.output_tokens = plain["outputTokens"] + streamed["outputTokens"]
        self.until = datetime.now(UTC) + timedelta(minutes=1)


@pytest.fixture(scope="module")
def used(client: Client) -> Used:
    return Used(client)


@pytest.fixture(scope="module")
def cloudwatch(client: Client) -> Iterator[Any]:
    with closing(client("cloudwatch")) as made:
        yield made


@pytest.fixture(scope="module")
def cost_explorer(client: Client) -> Iterator[Any]:
    with closing(client("ce")) as made:
        yield made


def summed(cloudwatch: Any, used: Used, metric: str, statistic: str = "Sum") -> float:
    datapoints = cloudwatch.get_metric_statistics(
        Namespace="AWS/Bedrock",
        MetricName=metric,
        Dimensions=[{"Name": "ModelId", "Value": used.id}],
        StartTime=used.until - timedelta(minutes=30),
        EndTime=used.until,
        Period=60,
        Statistics=[statistic],
    )["Datapoints"]
    return float(sum(point[statistic] for point in datapoints))


def test_sums_agree_with_what_the_client_was_told(cloudwatch: Any, used: Used) -> None:
    calls = once(lambda: summed(cloudwatch, used, "Invocations"), lambda seen: seen == 2)

    assert calls == 2
    assert summed(cloudwatch, used, "InputTokenCount") == used.input_tokens
    assert summed(cloudwatch, used, "OutputTokenCount") == used.output_tokens
    assert summed(cloudwatch, used, "InvocationLatency", "SampleCount") == 2
    assert summed(cloudwatch, used, "TimeToFirstToken", "SampleCount") == 1
    assert summed(cloudwatch, used, "InvocationThrottles") == 0
    assert summed(cloudwatch, used, "NoSuchMetric") == 0


def test_metrics_are_listed_with_the_profiles_id(cloudwatch: Any, used: Used) -> None:
    mine = {"Name": "ModelId", "Value": used.id}

    def names() -> set[str]:
        pages = cloudwatch.get_paginator("list_metrics").paginate(
            Namespace="AWS/Bedrock", Dimensions=[mine], RecentlyActive="PT3H"
        )
        return {metric["MetricName"] for page in pages for metric in page["Metrics"]}

    found = once(names, lambda seen: "TimeToFirstToken" in seen)

    assert {"Invocations", "InputTokenCount", "InvocationLatency", "TimeToFirstToken"} <= found
    assert cloudwatch.list_metrics(Namespace="AWS/EC2")["Metrics"] == []


def test_metric_data_are_computed(cloudwatch: Any, used: Used) -> None:
    def query(id_: str, name: str, stat: str) -> dict[str, Any]:
        dimensions = [{"Name": "ModelId", "Value": used.id}]
        source = {"Namespace": "AWS/Bedrock", "MetricName": name, "Dimensions": dimensions}
        return {"Id": id_, "MetricStat": {"Metric": source, "Period": 3600, "Stat": stat}}

    def results() -> dict[str, list[float]]:
        response = cloudwatch.get_metric_data(
            StartTime=used.until - timedelta(hours=1),
            EndTime=used.until,
            MetricDataQueries=[
                query("input", "InputTokenCount", "Sum"),
                query("output", "OutputTokenCount", "Sum"),
                query("slow", "InvocationLatency", "p99"),
                query("calls", "Invocations", "Sum"),
                {"Id": "total", "Expression": "input + output", "Label": "tokens"},
            ],
        )
        return {result["Id"]: result["Values"] for result in response["MetricDataResults"]}

    found = once(results, lambda seen: seen["calls"] == [2])

    assert found["total"] == [used.input_tokens + used.output_tokens]
    assert found["slow"][0] > 0


def test_the_bill_says_who_pays(cost_explorer: Any, used: Used, server: OutcropProcess) -> None:
    def bill(**parameters: Any) -> dict[tuple[str, ...], tuple[float, float]]:
        today = used.until.date()
        response = cost_explorer.get_cost_and_usage(
            TimePeriod={"Start": f"{today - timedelta(days=1)}", "End": f"{today + timedelta(1)}"},
            Granularity="MONTHLY",
            Metrics=["UsageQuantity", "UnblendedCost"],
            **parameters,
        )
        return {
            tuple(group["Keys"]): (amount(group, "UsageQuantity"), amount(group, "UnblendedCost"))
            for result in response["ResultsByTime"]
            for group in result["Groups"]
        }

    def amount(group: Any, metric: str) -> float:
        return float(group["Metrics"][metric]["Amount"])

    by = [{"Type": "TAG", "Key": "team"}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}]
    tagged = {"Tags": {"Key": "team", "Values": ["checkout"]}}
    output = ("team$checkout", "USE1-nova-lite-v1:0-output-tokens")

    found = once(
        lambda: bill(GroupBy=by, Filter=tagged),
        lambda seen: seen.get(output, (0, 0))[0] == used.output_tokens,
    )

    assert found[output][0] == used.output_tokens
    assert found[output][1] > 0
    assert bill(GroupBy=by, Filter={"Not": tagged}) == {}
    principal = f"aws:PrincipalArn$arn:aws:iam::{server.credentials.account_id}:root"
    payers = [
        {"Type": "TAG", "Key": "aws:PrincipalArn"},
        {"Type": "DIMENSION", "Key": "RESOURCE_ID"},
    ]
    assert [*bill(GroupBy=payers)] == [(principal, used.arn)]


def test_tags_and_dimensions_are_listed(cost_explorer: Any, used: Used) -> None:
    today = used.until.date()
    period = {"Start": f"{today - timedelta(days=1)}", "End": f"{today + timedelta(days=1)}"}

    keys = once(
        lambda: cost_explorer.get_tags(TimePeriod=period)["Tags"], lambda seen: "team" in seen
    )
    values = cost_explorer.get_tags(TimePeriod=period, TagKey="team")["Tags"]
    regions = cost_explorer.get_dimension_values(TimePeriod=period, Dimension="REGION")

    assert (keys, values) == (["aws:PrincipalArn", "team"], ["checkout"])
    assert [found["Value"] for found in regions["DimensionValues"]] == ["us-east-1"]


def test_sts_says_who_calls(client: Client, server: OutcropProcess) -> None:
    with closing(client("sts", region="eu-west-1")) as sts:
        identity = sts.get_caller_identity()

    account_id = server.credentials.account_id
    assert identity["Account"] == account_id
    assert identity["Arn"] == f"arn:aws:iam::{account_id}:root"
    assert identity["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code"),
    [
        ("cloudwatch", "list_metrics", {"NextToken": "forged"}, "InvalidParameterValue"),
        ("cloudwatch", "describe_alarms", {}, "InvalidAction"),
        (
            "ce",
            "get_tags",
            {"TimePeriod": {"Start": "2026-01-02", "End": "2026-01-01"}},
            "ValidationException",
        ),
        ("sts", "get_access_key_info", {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE"}, "InvalidAction"),
    ],
)
def test_refusals_have_the_services_own_names(
    client: Client, service: str, operation: str, parameters: dict[str, Any], code: str
) -> None:
    with closing(client(service)) as made, pytest.raises(ClientError) as refused:
        getattr(made, operation)(**parameters)

    assert refused.value.response["Error"]["Code"] == code


def test_a_signature_for_one_service_is_none_for_another(server: OutcropProcess) -> None:
    keys = Credentials(server.credentials.access_key_id, server.credentials.secret_access_key)
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answers = {}
    for service in ("sts", "bedrock", "monitoring"):
        request = AWSRequest("POST", f"{server.url}/", data=body, headers=headers)
        SigV4Auth(keys, service, "us-east-1").add_auth(request)
        answers[service] = sent(request)

    assert answers["sts"].startswith("200 <GetCallerIdentityResponse")
    for service in ("bedrock", "monitoring"):
        assert answers[service].startswith("403 <ErrorResponse")
        assert "<Code>SignatureDoesNotMatch</Code>" in answers[service]
        assert "Credential should be scoped to correct service: 'sts'." in answers[service]


def test_a_presigned_request_for_the_callers_identity_is_answered(server: OutcropProcess) -> None:
    keys = Credentials(server.credentials.access_key_id, server.credentials.secret_access_key)
    url = f"{server.url}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url)
    SigV4QueryAuth(keys, "sts", "us-east-1", expires=60).add_auth(request)

    assert sent(request).startswith("200 <GetCallerIdentityResponse")


def test_an_unsigned_request_is_refused(server: OutcropProcess) -> None:
    headers = {"x-amz-target": "AWSInsightsIndexService.GetTags"}
    request = AWSRequest("POST", f"{server.url}/", data=b"{}", headers=headers)

    assert sent(request).startswith('403 {"__type":"MissingAuthenticationTokenException"')


def sent(request: AWSRequest) -> str:
    """The status and the body of the answer."""
    prepared = request.prepare()
    response = httpx.request(
        prepared.method, prepared.url, headers=dict(prepared.headers), content=prepared.body
    )
    return f"{response.status_code} {response.text}"
