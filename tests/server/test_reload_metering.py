"""SIGHUP and money: prices hold for what comes after, budgets forget nothing."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.clients.scripted_server import ScriptedServer, scripted_server
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.test_reload import HELLO, MODEL_ID, READ_AGAIN, client, reload, settings
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def model_server() -> Iterator[ScriptedServer]:
    """Every call reads 11 tokens and writes 7."""
    with scripted_server() as running:
        yield running


def priced(url: str, input_per_1k: str, output_per_1k: str, more: str = "") -> str:
    price = (
        f'[[prices]]\nmodel = "{MODEL_ID}"\n'
        f"input_per_1k = {input_per_1k}\noutput_per_1k = {output_per_1k}\n"
    )
    return settings(("gpu", url), more=price + more)


def bill(server: OutcropProcess) -> dict[str, Decimal]:
    """Of yesterday to tomorrow, by the kind of token."""
    today = datetime.now(UTC).date()
    day = timedelta(days=1)
    answer = client(server, "ce").get_cost_and_usage(
        TimePeriod={"Start": f"{today - day}", "End": f"{today + day}"},
        Granularity="MONTHLY",
        Metrics=["UnblendedCost"],
        GroupBy=[{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
    )
    costs: dict[str, Decimal] = {}
    for result in answer["ResultsByTime"]:
        for group in result["Groups"]:
            kind = group["Keys"][0].partition(":0-")[2]
            amount = Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
            costs[kind] = costs.get(kind, Decimal(0)) + amount
    return {kind: cost for kind, cost in costs.items() if cost}


def say(server: OutcropProcess, times: int = 1) -> None:
    runtime = client(server)
    for _ in range(times):
        runtime.converse(modelId=MODEL_ID, messages=HELLO)


def test_calls_cost_what_the_price_list_said_when_they_were_made(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    url = model_server.url
    with outcrop_process(tmp_path, config=priced(url, "0.1", "1")) as server:
        say(server, 2)
        reload(server, priced(url, "1", "10"), until=READ_AGAIN)
        say(server, 3)

        # 22 tokens at a hundredth of a cent and 33 at a tenth; 14 at a tenth and 21 at a cent.
        expected = {"input-tokens": Decimal("0.0352"), "output-tokens": Decimal("0.224")}
        eventually(lambda: bill(server) == expected)
        assert bill(server) == expected


BUDGET = '[[budgets]]\nname = "small"\namount_usd = "0.05"\n'


def test_a_spent_budget_stays_spent_through_many_reloads(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    first, second = (priced(model_server.url, "1", price, BUDGET) for price in ("10", "20"))
    answered: list[Any] = []
    over = Event()
    with outcrop_process(tmp_path, config=first) as server:
        say(server)  # 81 thousandths of a dollar

        def keep_asking() -> None:
            runtime = client(server)
            while not over.is_set():
                with suppress(runtime.exceptions.AccessDeniedException):
                    answered.append(runtime.converse(modelId=MODEL_ID, messages=HELLO))

        asking = Thread(target=keep_asking)
        asking.start()
        try:
            for text in [second, first] * 4:
                reload(server, text, until=READ_AGAIN)
        finally:
            over.set()
            asking.join()
        assert answered == []
        reload(server, first.replace('"0.05"', '"0.5"'), until=READ_AGAIN)
        say(server)
        reload(server, first, until=READ_AGAIN)
        with pytest.raises(ClientError, match=r'budget "small": 0.162 of 0.05 USD a month'):
            say(server)


def test_what_only_a_restart_follows_of_the_watching_is_named(
    tmp_path: Path, model_server: ScriptedServer
) -> None:
    more = f"""
[metrics]
most_series = 7
[telemetry]
timeout_s = 7
[audit]
file = "{tmp_path}/audit.jsonl"
[invocation_logging]
folder = "{tmp_path}/buckets"
[metering]
enabled = false
"""
    before = settings(("gpu", model_server.url))
    with outcrop_process(tmp_path / "state", config=before) as server:
        reload(server, settings(("gpu", model_server.url), more=more), until=READ_AGAIN)
        said = server.log.read_text()
        say(server)
        with pytest.raises(ClientError, match="delivers nothing to buckets"):
            client(server, "bedrock").put_model_invocation_logging_configuration(
                loggingConfig={"s3Config": {"bucketName": "logs"}}
            )

    assert (
        "only a restart follows: audit.file, invocation_logging.folder, metering.enabled,"
        " metrics.most_series, telemetry.timeout_s"
    ) in said
    assert not (tmp_path / "audit.jsonl").exists()
