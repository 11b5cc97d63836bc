"""Whether model units hold: on-demand traffic at ten times capacity beside provisioned traffic.

One model server with so many slots, answers of random length; `outcrop serve` in front of it; both
kinds of traffic arrive at random, whether or not earlier calls are answered. First provisioned
traffic is alone, then on-demand traffic joins it.

`python -m benchmarks.isolation --seconds 90 --plot docs/capacity.svg`
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.isolation_plot import plotted
from benchmarks.paced_server import paced_server
from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess, outcrop_process

MODEL_ID = "amazon.nova-lite-v1:0"
BOUGHT_MODEL_ID = "amazon.nova-lite-v1:0"
OUTPUT_TOKENS = 5
"""Of each answer; each call asks for no more."""


class Plan(Struct, frozen=True, kw_only=True):
    slots: int = 8
    answer_s: float = 0.1
    """The mean."""
    model_units: int = 4
    """Of ten, which are all that the server sustains."""
    used_of_units: float = 0.9
    offered: float = 10
    """On-demand traffic, in capacities of the server."""
    unloaded_s: float = 10
    seconds: float = 30
    queue_deadline_s: float = 0.5

    @property
    def capacity(self) -> float:
        """Answers a second."""
        return self.slots / self.answer_s

    @property
    def unit_output_per_minute(self) -> int:
        return int(self.capacity * 60 * OUTPUT_TOKENS / 10)

    @property
    def provisioned_rate(self) -> float:
        sold = self.unit_output_per_minute * self.model_units / 60 / OUTPUT_TOKENS
        return sold * self.used_of_units


class Asked(Struct, frozen=True):
    """One call, in seconds since the beginning."""

    at_s: float
    took_s: float
    status: int


class Seen(Struct, frozen=True, kw_only=True):
    provisioned: Sequence[Asked]
    on_demand: Sequence[Asked]


class Summary(Struct, frozen=True, kw_only=True):
    unloaded_p99_s: float
    loaded_p99_s: float
    provisioned_refused: int
    provisioned_answers_per_s: float
    on_demand_answers_per_s: float
    capacity: float
    """Answers a second, were no slot ever empty."""

    @property
    def p99_ratio(self) -> float:
        return self.loaded_p99_s / self.unloaded_p99_s

    @property
    def used(self) -> float:
        """Of the server's capacity, by both."""
        return (self.provisioned_answers_per_s + self.on_demand_answers_per_s) / self.capacity


def run(plan: Plan) -> Seen:
    with paced_server(plan.answer_s) as port, _outcrop(plan, port) as server:
        signer = Signer(server)
        requests = [_converse(signer, _bought(signer, plan)), _converse(signer, MODEL_ID)]
        return uvloop.run(_traffic(server.port, requests, plan))


def summary(seen: Seen, plan: Plan) -> Summary:
    alone = [one for one in seen.provisioned if one.at_s < plan.unloaded_s]
    beside = [one for one in seen.provisioned if one.at_s >= plan.unloaded_s]
    loaded_s = plan.seconds
    return Summary(
        unloaded_p99_s=_p99(alone),
        loaded_p99_s=_p99(beside),
        provisioned_refused=sum(one.status != 200 for one in seen.provisioned),
        provisioned_answers_per_s=len(beside) / loaded_s,
        on_demand_answers_per_s=sum(one.status == 200 for one in seen.on_demand) / loaded_s,
        capacity=plan.capacity,
    )


def _p99(calls: Sequence[Asked]) -> float:
    return sorted(one.took_s for one in calls)[int(len(calls) * 0.99)]


@contextmanager
def _outcrop(plan: Plan, port: int) -> Generator[OutcropProcess]:
    config = f"""
        [embedded]
        enabled = false
        [admission]
        queue_deadline_s = {plan.queue_deadline_s}
        [provisioned_throughput]
        creating_s = 0
        [[model_units]]
        model = "{MODEL_ID}"
        input_tokens_per_minute = 1_000_000_000
        output_tokens_per_minute = {plan.unit_output_per_minute}
        [[model_servers]]
        name = "gpu"
        url = "http://127.0.0.1:{port}/v1"
        models = {{ "{MODEL_ID}" = "m" }}
        max_concurrency = {plan.slots}
        model_units = {{ "{MODEL_ID}" = 10 }}
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        outcrop_process(Path(folder), config=config, arguments=("--log-level", "error")) as server,
    ):
        yield server


def _bought(signer: Signer, plan: Plan) -> str:
    order = {
        "modelId": BOUGHT_MODEL_ID,
        "provisionedModelName": "isolation",
        "modelUnits": plan.model_units,
    }
    bought = signer.ask(
        "POST",
        "/provisioned-model-throughput",
        msgspec.json.encode(order),
        headers={"Content-Type": "application/json"},
    )
    arn: str = msgspec.json.decode(bought.body)["provisionedModelArn"]
    path = f"/provisioned-model-throughput/{arn.replace(':', '%3A').replace('/', '%2F')}"
    found = signer.ask("GET", path)
    assert msgspec.json.decode(found.body)["status"] == "InService", found.body
    return arn


def _converse(signer: Signer, model_id: str) -> bytes:
    body = msgspec.json.encode(
        {
            "messages": [{"role": "user", "content": [{"text": "hello"}]}],
            "inferenceConfig": {"maxTokens": OUTPUT_TOKENS},
        }
    )
    path = f"/model/{model_id.replace(':', '%3A').replace('/', '%2F')}/converse"
    headers = signer.headers("POST", path, body, headers={"Content-Type": "application/json"})
    headers["Host"] = signer.host
    headers["Content-Length"] = str(len(body))
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


async def _traffic(port: int, requests: Sequence[bytes], plan: Plan) -> Seen:
    provisioned, on_demand = (Arrivals(port, request) for request in requests)
    began = time.perf_counter()
    total_s = plan.unloaded_s + plan.seconds
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(provisioned.arrive(plan.provisioned_rate, 0, total_s))
        rate = plan.offered * plan.capacity
        tasks.create_task(on_demand.arrive(rate, plan.unloaded_s, total_s))
    return Seen(
        provisioned=provisioned.seen(began, total_s), on_demand=on_demand.seen(began, total_s)
    )


class Arrivals:
    """Calls at random moments; each on a connection that is idle, or a new one."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._idle: list[Caller] = []
        self._asked: list[tuple[float, float, int]] = []

    async def arrive(self, rate: float, from_s: float, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        due_s = from_s
        async with asyncio.TaskGroup() as calls:
            while True:
                due_s += random.expovariate(rate)
                if due_s >= until_s:
                    break
                await asyncio.sleep(began + due_s - loop.time())
                calls.create_task(self._call())
        for caller in self._idle:
            caller.transport.abort()

    def seen(self, began: float, until_s: float) -> Sequence[Asked]:
        """In time: what was asked near the end may have been answered after it."""
        return [
            Asked(at - began, took, status)
            for at, took, status in self._asked
            if at - began + took <= until_s
        ]

    async def _call(self) -> None:
        began = time.perf_counter()
        caller = self._idle.pop() if self._idle else None
        # The server closes what is idle for long.
        if caller is None or caller.transport.is_closing():
            loop = asyncio.get_running_loop()
            _, caller = await loop.create_connection(Caller, "127.0.0.1", self._port)
        status = await caller.ask(self._request)
        self._asked.append((began, time.perf_counter() - began, status))
        self._idle.append(caller)


class Caller(asyncio.Protocol):
    """One connection; answers come with a length."""

    def __init__(self) -> None:
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed"))

    async def ask(self, request: bytes) -> int:
        self._answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received.clear()
            self._answer.set_result(int(head[9:12]))


def main(plan: Plan | None = None, plot: Path | None = None) -> None:
    plan = plan or Plan()
    seen = run(plan)
    found = summary(seen, plan)
    for name, value in (
        ("capacity", f"{found.capacity:.0f} answers/s"),
        ("provisioned, offered", f"{plan.provisioned_rate:.1f}/s"),
        ("provisioned, answered", f"{found.provisioned_answers_per_s:.1f}/s"),
        ("provisioned, refused", str(found.provisioned_refused)),
        ("provisioned, p99 alone", f"{found.unloaded_p99_s * 1000:.0f} ms"),
        ("provisioned, p99 beside on-demand", f"{found.loaded_p99_s * 1000:.0f} ms"),
        ("ratio (aim: at most 1.5)", f"{found.p99_ratio:.2f}"),
        ("on-demand, offered", f"{plan.offered * plan.capacity:.0f}/s"),
        ("on-demand, answered", f"{found.on_demand_answers_per_s:.1f}/s"),
        ("capacity used", f"{found.used:.0%}"),
    ):
        print(f"{name:40}{value}", flush=True)
    if plot is not None:
        plot.write_text(plotted(seen, plan))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=Plan().seconds)
    parser.add_argument("--unloaded-s", type=float, default=Plan().unloaded_s)
    parser.add_argument("--plot", type=Path)
    given = vars(parser.parse_args())
    plot_path = given.pop("plot")
    main(Plan(**given), plot_path)
