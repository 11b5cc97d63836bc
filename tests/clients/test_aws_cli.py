"""The unmodified AWS CLI, from the variables that `outcrop env` prints."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import python_environment
from tests.outcrop_process import OutcropProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

MESSAGES = '[{"role":"user","content":[{"text":"Say hello."}]}]'


class Aws:
    def __init__(self, server: OutcropProcess) -> None:
        self._program = python_environment("aws-cli", "awscli==1.46.3") / "aws"
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._variables = own | server.environment() | {"AWS_MAX_ATTEMPTS": "1"}

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._program, *arguments, "--output", "json"],
            env=self._variables | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "{}")


@pytest.fixture(scope="module")
def aws(server: OutcropProcess) -> Aws:
    return Aws(server)


@pytest.fixture(scope="module")
def scripted_aws(outcrop: OutcropProcess) -> Aws:
    """In front of the scripted model server."""
    return Aws(outcrop)


def test_an_application_profile_lives_and_dies(aws: Aws) -> None:
    source = aws(
        "bedrock",
        "get-inference-profile",
        "--inference-profile-identifier",
        "us.amazon.nova-lite-v1:0",
    )
    created = aws(
        "bedrock",
        "create-inference-profile",
        "--inference-profile-name",
        "from the cli",
        "--model-source",
        f"copyFrom={source['inferenceProfileArn']}",
        "--tags",
        "key=team,value=checkout",
    )
    arn = created["inferenceProfileArn"]

    listed = aws("bedrock", "list-inference-profiles", "--type-equals", "APPLICATION")
    tags = aws("bedrock", "list-tags-for-resource", "--resource-arn", arn)
    answer = aws("bedrock-runtime", "converse", "--model-id", arn, "--messages", MESSAGES)
    aws("bedrock", "delete-inference-profile", "--inference-profile-identifier", arn)

    assert [profile["inferenceProfileArn"] for profile in listed["inferenceProfileSummaries"]] == [
        arn
    ]
    assert listed["inferenceProfileSummaries"][0]["models"] == source["models"]
    assert tags == {"tags": [{"key": "team", "value": "checkout"}]}
    assert answer["output"]["message"]["content"][0]["text"]
    gone = aws.run("bedrock", "get-inference-profile", "--inference-profile-identifier", arn)
    assert "ResourceNotFoundException" in gone.stderr


def test_pages_of_one_cover_the_whole_listing(aws: Aws) -> None:
    whole = aws("bedrock", "list-inference-profiles")

    paged = aws("bedrock", "list-inference-profiles", "--page-size", "9")

    assert paged == whole
    assert len(whole["inferenceProfileSummaries"]) > 50


def test_a_violated_constraint_is_told_in_amazons_words(aws: Aws) -> None:
    done = aws.run("bedrock", "list-inference-profiles", "--no-paginate", "--max-results", "1001")

    assert (
        "An error occurred (ValidationException) when calling the ListInferenceProfiles operation: "
        "1 validation error detected: Value '1001' at 'maxResults' failed to satisfy constraint: "
        "Member must have value less than or equal to 1000"
    ) in done.stderr


def test_what_was_used_is_told_by_cloudwatch_and_cost_explorer(aws: Aws) -> None:
    model = "amazon.nova-micro-v1:0"
    identity = aws("sts", "get-caller-identity")
    counted = aws("bedrock-runtime", "converse", "--model-id", model, "--messages", MESSAGES)
    now = datetime.now(UTC)
    today, tomorrow = f"{now:%Y-%m-%d}", f"{now + timedelta(days=1):%Y-%m-%d}"

    statistics = until(
        lambda: aws(
            *("cloudwatch", "get-metric-statistics", "--namespace", "AWS/Bedrock"),
            *("--metric-name", "OutputTokenCount", "--statistics", "Sum", "SampleCount"),
            *("--dimensions", f"Name=ModelId,Value={model}", "--period", "86400"),
            *(
                "--start-time",
                today,
                "--end-time",
                f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            ),
        )["Datapoints"]
    )
    listed = aws("cloudwatch", "list-metrics", "--namespace", "AWS/Bedrock")["Metrics"]
    bill = aws(
        *("ce", "get-cost-and-usage", "--granularity", "DAILY", "--metrics", "UsageQuantity"),
        *("--time-period", f"Start={today},End={tomorrow}"),
        *("--group-by", "Type=DIMENSION,Key=USAGE_TYPE"),
    )

    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:root"
    assert [point["Sum"] for point in statistics] == [counted["usage"]["outputTokens"]]
    assert {"Name": "ModelId", "Value": model} in [
        dimension for metric in listed for dimension in metric["Dimensions"]
    ]
    groups = {group["Keys"][0]: group for group in bill["ResultsByTime"][0]["Groups"]}
    used = groups["USE1-nova-micro-v1:0-output-tokens"]["Metrics"]["UsageQuantity"]
    assert (float(used["Amount"]), used["Unit"]) == (counted["usage"]["outputTokens"], "Tokens")


def until(look: Callable[[], list[Any]]) -> list[Any]:
    """What there is to see, once there is."""
    for _ in range(20):
        if seen := look():
            return seen
    raise AssertionError("nothing to be seen")


def test_the_wrong_secret_is_refused(aws: Aws) -> None:
    done = aws.run("bedrock", "list-foundation-models", AWS_SECRET_ACCESS_KEY="wrong")

    assert "(InvalidSignatureException)" in done.stderr


CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": CITY}}}


def asking(said: str) -> tuple[str, ...]:
    messages = json.dumps([{"role": "user", "content": [{"text": said}]}])
    return ("bedrock-runtime", "converse", "--model-id", CLAUDE, "--messages", messages)


def test_a_tool_is_called(scripted_aws: Aws) -> None:
    answer = scripted_aws(
        *asking("Call get_weather."), "--tool-config", json.dumps({"tools": [WEATHER]})
    )

    assert answer["stopReason"] == "tool_use"
    assert answer["output"]["message"]["content"][0]["toolUse"]["input"] == {"city": "Zürich"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Answer 429.", "ThrottlingException"),
        ("Answer 500.", "ModelErrorException"),
        ("Answer too long.", "ValidationException"),
    ],
)
def test_a_model_servers_failure_is_bedrocks(scripted_aws: Aws, said: str, error: str) -> None:
    done = scripted_aws.run(*asking(said))

    assert f"({error}) when calling the Converse operation" in done.stderr


def test_a_native_body_becomes_vectors(scripted_aws: Aws, tmp_path: Path) -> None:
    body, answer = tmp_path / "body.json", tmp_path / "answer.json"
    body.write_text(json.dumps({"input_type": "search_query", "texts": ["one", "two"]}))

    told = scripted_aws(
        *("bedrock-runtime", "invoke-model", "--model-id", "cohere.embed-english-v3"),
        *("--body", f"fileb://{body}", str(answer)),
    )

    assert told["contentType"] == "application/json"
    assert [len(vector) for vector in json.loads(answer.read_text())["embeddings"]] == [1024, 1024]


def test_tokens_are_counted(scripted_aws: Aws) -> None:
    counted = {"converse": {"messages": json.loads(MESSAGES)}}

    told = scripted_aws(
        *("bedrock-runtime", "count-tokens", "--model-id", CLAUDE.removeprefix("us.")),
        *("--input", json.dumps(counted)),
    )

    assert told == {"inputTokens": 11}
