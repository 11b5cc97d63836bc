"""A mixed load, then four answers to one question: clients, records, CloudWatch, Cost Explorer."""

import random
import threading
from collections import Counter
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct
from urllib3.exceptions import HTTPError

from outcrop.store.usage_records import UsageRecord
from tests.boto3_client import client_of
from tests.clients.scripted_server import ScriptedServer, scripted_server
from tests.conformance.kills import kill_all
from tests.conformance.test_ledger import records
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NOVA, TITAN = "amazon.nova-lite-v1:0", "amazon.titan-embed-text-v2:0"
TOKENS = ("input_tokens", "output_tokens")


class Told(Struct):
    """What clients were told: tokens by the request's id, and errors by their name."""

    tokens: dict[str, tuple[int, int]]
    errors: Counter[str]
    lock: Any


def configuration(model_server: ScriptedServer) -> str:
    return f"""
log_level = "error"
[embedded]
enabled = false
[[model_servers]]
name = "gpu"
url = "{model_server.url}"
models = {{ "{NOVA}" = "m", "{TITAN}" = "e" }}
[[prices]]
model = "{NOVA}"
input_per_1k = 0.06
output_per_1k = 0.24
[[prices]]
model = "{TITAN}"
input_per_1k = 0.02
[[quotas]]
model = "{NOVA}"
way = "cross_region"
requests_per_minute = 1
[[budgets]]
name = "blue"
amount_usd = 0.001
tags = {{ team = "blue" }}
"""


def client(server: OutcropProcess, service: str) -> closing[Any]:
    return closing(client_of(server, service))


def messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


class Load:
    """One client, all kinds of calls; it writes down what it was told."""

    def __init__(self, server: OutcropProcess, told: Told) -> None:
        self._server = server
        self._told = told

    def once(self) -> None:
        with client(self._server, "bedrock-runtime") as runtime:
            for call in (self._converse, self._stream, self._invoke, self._embed, self._leave):
                call(runtime)
            self._from_a_cache(runtime)
            self._invoke_streamed(runtime)
            for text in ("Answer 400.", "Answer 429.", "Answer 500."):
                self._refused(runtime, NOVA, text)
            for _ in range(2):
                self._refused(runtime, "us." + NOVA, "hello")

    def until_it_is_gone(self) -> None:
        with client(self._server, "bedrock-runtime") as runtime, suppress(BotoCoreError, HTTPError):
            while True:
                self._converse(runtime)
                self._stream(runtime)

    def _converse(self, runtime: Any) -> None:
        answer = runtime.converse(modelId=NOVA, messages=messages("hello"))
        self._tell(answer, answer["usage"]["inputTokens"], answer["usage"]["outputTokens"])

    def _stream(self, runtime: Any) -> None:
        answer = runtime.converse_stream(modelId=NOVA, messages=messages("hello"))
        for event in answer["stream"]:
            if "metadata" in event:
                usage = event["metadata"]["usage"]
                self._tell(answer, usage["inputTokens"], usage["outputTokens"])

    def _invoke(self, runtime: Any) -> None:
        body = msgspec.json.encode({"messages": messages("hello")})
        answer = runtime.invoke_model(modelId=NOVA, body=body)
        usage = msgspec.json.decode(answer["body"].read())["usage"]
        self._tell(answer, usage["inputTokens"], usage["outputTokens"])

    def _from_a_cache(self, runtime: Any) -> None:
        """Of eleven tokens four."""
        content = [{"text": "From the cache."}, {"cachePoint": {"type": "default"}}]
        asked = [{"role": "user", "content": content}]
        answer = runtime.converse(modelId=NOVA, messages=asked)
        usage = answer["usage"]
        assert (usage["inputTokens"], usage["cacheReadInputTokens"]) == (7, 4)
        self._tell(answer, usage["inputTokens"], usage["outputTokens"])

    def _invoke_streamed(self, runtime: Any) -> None:
        body = msgspec.json.encode({"messages": messages("hello")})
        answer = runtime.invoke_model_with_response_stream(modelId=NOVA, body=body)
        for event in answer["body"]:
            chunk = msgspec.json.decode(event["chunk"]["bytes"])
            if counts := chunk.get("amazon-bedrock-invocationMetrics"):
                self._tell(answer, counts["inputTokenCount"], counts["outputTokenCount"])

    def _embed(self, runtime: Any) -> None:
        answer = runtime.invoke_model(modelId=TITAN, body=b'{"inputText": "hello"}')
        self._tell(answer, msgspec.json.decode(answer["body"].read())["inputTextTokenCount"], 0)

    def _leave(self, runtime: Any) -> None:
        answer = runtime.converse_stream(modelId=NOVA, messages=messages("hello"))
        next(iter(answer["stream"]))
        answer["stream"].close()

    def _refused(self, runtime: Any, model_id: str, text: str) -> None:
        try:
            answer = runtime.converse(modelId=model_id, messages=messages(text))
        except ClientError as error:
            with self._told.lock:
                self._told.errors[error.response["Error"]["Code"]] += 1
        else:
            self._tell(answer, answer["usage"]["inputTokens"], answer["usage"]["outputTokens"])

    def _tell(self, answer: Any, input_tokens: int, output_tokens: int) -> None:
        with self._told.lock:
            request_id = answer["ResponseMetadata"]["RequestId"]
            self._told.tokens[request_id] = input_tokens, output_tokens


def cloudwatch_sum(server: OutcropProcess, name: str) -> int:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with client(server, "cloudwatch") as cloudwatch:
        found = cloudwatch.get_metric_statistics(
            Namespace="AWS/Bedrock",
            MetricName=name,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=2),
            Period=60,
            Statistics=["Sum"],
        )
    return int(sum(point["Sum"] for point in found["Datapoints"]))


def on_the_bill(server: OutcropProcess) -> tuple[Decimal, Decimal]:
    """US dollars and tokens."""
    today = datetime.now(UTC).date()
    with client(server, "ce") as ce:
        found = ce.get_cost_and_usage(
            TimePeriod={
                "Start": str(today - timedelta(days=1)),
                "End": str(today + timedelta(days=1)),
            },
            Granularity="DAILY",
            Metrics=["UnblendedCost", "UsageQuantity"],
        )
    totals = [day["Total"] for day in found["ResultsByTime"]]
    return (
        sum((Decimal(total["UnblendedCost"]["Amount"]) for total in totals), Decimal(0)),
        sum((Decimal(total["UsageQuantity"]["Amount"]) for total in totals), Decimal(0)),
    )


def killed_under_load(state: Path, config: str, told: Told) -> None:
    with outcrop_process(state, config=config) as server:
        load = Load(server, told)
        load.once()
        callers = [threading.Thread(target=load.until_it_is_gone) for _ in range(3)]
        for caller in callers:
            caller.start()
        asked = len(told.tokens)
        assert eventually(lambda: len(told.tokens) > asked + random.randint(5, 20))
        kill_all(server)
        for caller in callers:
            caller.join()


def test_sums_agree_to_the_last_token(tmp_path: Path) -> None:
    state, told = tmp_path / "state", Told({}, Counter(), threading.Lock())
    with scripted_server() as model_server:
        config = configuration(model_server)
        killed_under_load(state, config, told)
        killed_under_load(state, config, told)
        with outcrop_process(state, config=config) as server:
            Load(server, told).once()
            assert eventually(
                lambda: set(told.tokens) <= {one.request_id for one in records(state)}
            )
            refused = told.errors["ThrottlingException"]  # the last of all calls among them
            assert eventually(lambda: cloudwatch_sum(server, "InvocationThrottles") == refused)
            assert eventually(lambda: cloudwatch_sum(server, "Invocations") == answered(state))
            found = records(state)
            sums = {name: cloudwatch_sum(server, name) for name in METRICS}
            cost, tokens = on_the_bill(server)

    assert Counter(one.request_id for one in found).most_common(1)[0][1] == 1
    by_id = {one.request_id: (one.input_tokens, one.output_tokens) for one in found}
    assert {request_id: by_id[request_id] for request_id in told.tokens} == told.tokens
    assert len(told.tokens) > 20

    # What nobody was told is there too: cancelled, or cut off by the kill after it was recorded.
    assert sums["InputTokenCount"] == sum(one.input_tokens for one in found)
    assert sums["OutputTokenCount"] == sum(one.output_tokens for one in found)
    assert sums["CacheReadInputTokens"] == sum(one.cache_read_input_tokens for one in found) == 12
    counted = ("InputTokenCount", "OutputTokenCount", "CacheReadInputTokens")
    assert tokens == sum(sums[name] for name in counted)
    assert cost == sum(map(by_hand, found), Decimal(0))

    # Of each server: one by the quota, which begins anew with it, and one by the model server.
    assert sums["InvocationThrottles"] == told.errors["ThrottlingException"] == 6
    assert sums["InvocationClientErrors"] == told.errors["ValidationException"] == 3
    failures = told.errors.total() - 9
    assert sums["InvocationServerErrors"] == failures == 3


METRICS = (
    "InputTokenCount",
    "OutputTokenCount",
    "CacheReadInputTokens",
    "InvocationThrottles",
    "InvocationClientErrors",
    "InvocationServerErrors",
)


def answered(state: Path) -> int:
    return sum(
        one.outcome == "success" or (one.outcome == "cancelled" and one.first_event_us is not None)
        for one in records(state)
    )


def by_hand(record: UsageRecord) -> Decimal:
    if record.foundation_model_id == TITAN:
        return record.input_tokens * Decimal("0.00002")
    read = record.input_tokens + record.cache_read_input_tokens
    return read * Decimal("0.00006") + record.output_tokens * Decimal("0.00024")


def test_a_spent_budget_is_refused_before_a_model_is_asked(tmp_path: Path) -> None:
    """11 tokens in and 7 out cost 0.00234 dollars; the budget is 0.001."""
    with scripted_server() as model_server:
        config = configuration(model_server)
        for asked in (1, 0):
            with (
                outcrop_process(tmp_path / "state", config=config) as server,
                client(server, "bedrock") as bedrock,
                client(server, "bedrock-runtime") as runtime,
            ):
                profile = blue_profile(bedrock)
                before = len(model_server.requests)
                for _ in range(asked):
                    runtime.converse(modelId=profile, messages=messages("hello"))
                with pytest.raises(ClientError) as refusal:
                    runtime.converse(modelId=profile, messages=messages("hello"))
                runtime.converse(modelId=NOVA, messages=messages("hello"))
                assert len(model_server.requests) == before + asked + 1

            error = refusal.value.response["Error"]
            assert error["Code"] == "AccessDeniedException"
            assert error["Message"].startswith('budget "blue": 0.00234 of 0.001 USD a month.')


def blue_profile(bedrock: Any) -> str:
    """The same after a restart."""
    found = bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    if found:
        return str(found[0]["inferenceProfileArn"])
    created = bedrock.create_inference_profile(
        inferenceProfileName="blue",
        modelSource={"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"},
        tags=[{"key": "team", "value": "blue"}],
    )
    return str(created["inferenceProfileArn"])
