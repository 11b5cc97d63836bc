"""Streams through a whole server: who leaves stops the model, who reads slowly slows it down."""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.signing import Signer
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    FakeModelServer,
    Pours,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    delta,
    in_thread,
    sse,
    usage,
)
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.http2_wire import http2

MODEL = "amazon.nova-lite-v1:0"
PATHS = {operation: f"/model/{MODEL.replace(':', '%3A')}/{operation}" for operation in (
    "converse", "converse-stream", "invoke-with-response-stream"
)}  # fmt: skip
BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}).encode()
ANSWER = Answers([sse(delta("Hello"), delta(finish_reason="stop"), usage(3, 1))])
BEGUN = b"data: " + json.dumps(delta("Hel")).encode() + b"\n\n"
LONG = b"data: " + json.dumps(delta("x" * 10_000)).encode() + b"\n\n"
GONE_WITHIN_S = 0.1
ATTEMPTS = 5
# What sockets, buffers and HTTP/2 windows hold between a model server and a client.
ON_THE_WAY_BYTES = 16_000_000


class Serving(NamedTuple):
    outcrop: OutcropProcess
    model_server: FakeModelServer
    signer: Signer

    def plays(self, script: Script) -> None:
        self.model_server.script = script
        self.model_server.left.clear()
        self.model_server.asked.clear()

    def headers(self, operation: str) -> Mapping[str, str]:
        return self.signer.headers("POST", PATHS[operation], BODY)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """With one slot: who did not give it back would keep all others out."""
    with in_thread(ANSWER) as fake:
        config = (
            "[embedded]\nenabled = false\n[[model_servers]]\n"
            f'name = "gpu"\nurl = "{fake.url}"\nmax_concurrency = 1\n'
            f'models = {{ "{MODEL}" = "m" }}\n'
        )
        state: Path = tmp_path_factory.mktemp("outcrop")
        with outcrop_process(state, config=config) as outcrop:
            yield Serving(outcrop, fake, Signer(outcrop))


def until(happened: Callable[[], bool], within_s: float = 10) -> float:
    """How long it took."""
    began = time.perf_counter()
    while not happened():
        assert time.perf_counter() - began < within_s
    return time.perf_counter() - began


def leaves_over_http1(serving: Serving, operation: str, *, begun: bool) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", serving.outcrop.port, timeout=10)
    connection.request("POST", PATHS[operation], BODY, dict(serving.headers(operation)))
    if begun:
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read(10)
        answer.close()
    else:
        until(serving.model_server.asked.is_set)
    connection.close()
    return until(serving.model_server.left.is_set)


def leaves_over_http2(serving: Serving, operation: str, *, begun: bool) -> float:
    """One stream of a connection that stays open."""
    with http2(serving.outcrop.port) as client:
        signed = {n.lower(): v for n, v in serving.headers(operation).items()}
        authority = f"127.0.0.1:{serving.outcrop.port}"
        signed = {name: value for name, value in signed.items() if name != "host"}
        stream = client.ask(PATHS[operation], BODY, method="POST", authority=authority, **signed)
        if begun:
            assert client.first_of(stream)
        else:
            until(serving.model_server.asked.is_set)
        client.protocol.reset_stream(stream)
        client.flush()
        return until(serving.model_server.left.is_set)


def answers(serving: Serving) -> bool:
    serving.plays(ANSWER)
    answer = serving.signer.ask("POST", PATHS["converse"], BODY)
    return answer.status == 200 and b"Hello" in answer.body


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [leaves_over_http1, leaves_over_http2])
@pytest.mark.parametrize(
    ("operation", "script"),
    [
        ("converse", StallsBeforeTheFirstByte()),
        ("converse-stream", StallsBeforeTheFirstByte()),
        ("converse-stream", StallsAfter([BEGUN])),
        ("invoke-with-response-stream", StallsAfter([BEGUN])),
    ],
    ids=repr,
)
def test_a_client_that_goes_away_stops_the_model_within_a_tenth_of_a_second(
    serving: Serving, leaves: Callable[..., float], operation: str, script: Script
) -> None:
    begun = isinstance(script, StallsAfter)
    took_s: list[float] = []
    # The machine may be busy with something else; once shows that nothing waits here.
    while not took_s or (min(took_s) > GONE_WITHIN_S and len(took_s) < ATTEMPTS):
        serving.plays(script)
        took_s.append(leaves(serving, operation, begun=begun))

    assert min(took_s) < GONE_WITHIN_S
    assert answers(serving), "its slot was given back"


def resident_bytes(serving: Serving) -> int:
    pid = serving.outcrop.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    statm = [Path(f"/proc/{one}/statm").read_text().split()[1] for one in (pid, *children)]
    return sum(map(int, statm)) * 4096


@pytest.mark.slow
def test_a_slow_reader_slows_the_model_server_down_and_fills_no_memory(serving: Serving) -> None:
    serving.plays(Pours(LONG))
    fake = serving.model_server
    before, sent_before = resident_bytes(serving), fake.sent_bytes
    connection = http.client.HTTPConnection("127.0.0.1", serving.outcrop.port, timeout=10)
    connection.request(
        "POST", PATHS["converse-stream"], BODY, dict(serving.headers("converse-stream"))
    )
    answer = connection.getresponse()
    answer.read(10)

    sent = stands_still(fake)
    assert sent - sent_before < ON_THE_WAY_BYTES
    assert resident_bytes(serving) - before < ON_THE_WAY_BYTES
    assert not fake.left.is_set(), "it waits, and is not given up"
    answer.read(ON_THE_WAY_BYTES)
    assert fake.sent_bytes > sent, "it goes on when there is room"

    connection.close()
    answer.close()
    until(fake.left.is_set)
    assert answers(serving)


def stands_still(fake: FakeModelServer) -> int:
    """What it had sent when nothing more had left for a while."""
    sent, since = fake.sent_bytes, time.perf_counter()
    while time.perf_counter() - since < 0.5:
        if fake.sent_bytes != sent:
            sent, since = fake.sent_bytes, time.perf_counter()
    return sent


@pytest.mark.parametrize("operation", PATHS)
@pytest.mark.parametrize(
    ("status", "error"), [(429, "ThrottlingException"), (503, "ServiceUnavailableException")]
)
def test_a_busy_server_says_in_a_header_when_to_come_again(
    serving: Serving, operation: str, status: int, error: str
) -> None:
    serving.plays(AnswersStatus(status, b"{}", {"retry-after": "7"}))

    answer = serving.signer.ask("POST", PATHS[operation], BODY)

    assert (answer.status, answer.error) == (status, error)
    assert answer.headers["retry-after"] == "7"
    assert answers(serving)
