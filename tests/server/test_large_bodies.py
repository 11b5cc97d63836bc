"""No request may keep a worker from its other connections, however large it is and whatever it is.

The bodies are of 20 MB, or of as many values as are taken at all; sound, or spoilt somewhere. What
is measured is the processor time between two turns of the event loop, beside what this machine
takes in the same moment to read as many values into Python's own objects.
"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from outcrop.fleet.config import Dialect, EmbeddedConfig, ModelServerConfig
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.wiring import assembled
from outcrop.wire.json_size import MOST_VALUES
from tests.fakes.model_server import AnswersStatus, FakeModelServer
from tests.server.signed import signed

LONGEST_HOLD = 48
"""Times the reading: 0.2 s where that takes 4.2 ms. What is quadratic takes thousands."""
ATTEMPTS = 3
BODY_BYTES = 20_000_000

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
LLAMA = "us.meta.llama3-2-11b-instruct-v1:0"
PIXTRAL = "us.mistral.pixtral-large-2502-v1:0"
DEEPSEEK = "us.deepseek.r1-v1:0"
NOVA = "amazon.nova-lite-v1:0"
SERVED: Mapping[Dialect, Sequence[str]] = {
    "anthropic": [CLAUDE],
    "bedrock": [HAIKU],
    "openai": [
        DEEPSEEK,
        LLAMA,
        NOVA,
        PIXTRAL,
        "ai21.jamba-1-5-large-v1:0",
        "mistral.mistral-7b-instruct-v0:2",
        "openai.gpt-oss-120b-1:0",
        "amazon.titan-embed-text-v2:0",
        "cohere.embed-english-v3",
        "cohere.embed-v4:0",
    ],
}

USER, ASSISTANT = '{"role":"user","content":', '{"role":"assistant","content":'
CALL = '{"toolUse":{"toolUseId":"%d","name":"f","input":{}}}'
RESULT = '{"toolResult":{"toolUseId":"%d","content":[]}}'
TOOLS = (
    '"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}'
)
CLAUDES = '{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":['
SAY = '{"role":"user","content":"a"}'


class Shape(NamedTuple):
    """A body whose middle is one element again and again; `%d` in it is its number."""

    model: str
    operation: str
    before: str
    element: str
    after: str


def converse(element: str, before: str, after: str, model: str = NOVA) -> Shape:
    return Shape(model, "converse-stream", before, element, after)


def native(model: str, element: str, before: str, after: str) -> Shape:
    return Shape(model, "invoke", before, element, after)


def turns_of(model: str) -> Shape:
    turn = f'{SAY},{ASSISTANT}"b"}}'
    return native(model, turn, '{"messages":[', f",{SAY}]}}")


TURNS = USER + '[{"text":"a"}]},' + ASSISTANT + '[{"text":"b"}]}'
LAST = "," + USER + '[{"text":"x"}]}]'
SAY_TEXT = USER + '[{"text":"a"}]}'
BLOCKS = '{"messages":[' + USER + "["
SHAPES = (
    *(converse(TURNS, '{"messages":[', LAST + "}", model) for model in (NOVA, CLAUDE, HAIKU)),
    *(converse('{"text":"a"}', BLOCKS, "]}]}", model) for model in (NOVA, CLAUDE, HAIKU)),
    converse('{"text":"s"}', '{"system":[', '],"messages":[' + LAST[1:] + "}", CLAUDE),
    converse(
        '{"key":[1,2]}',
        '{"additionalModelRequestFields":{"a":[',
        ']},"messages":[' + LAST[1:] + "}",
    ),
    converse('"/a"', '{"additionalModelResponseFieldPaths":[', '],"messages":[' + LAST[1:] + "}"),
    converse('"s"', '{"inferenceConfig":{"stopSequences":[', ']},"messages":[' + LAST[1:] + "}"),
    converse(
        '{"toolSpec":{"name":"f%d","inputSchema":{"json":{"type":"object"}}}}',
        '{"toolConfig":{"tools":[',
        ']},"messages":[' + LAST[1:] + "}",
    ),
    native(CLAUDE, f'{SAY},{ASSISTANT}"b"}}', CLAUDES, f",{SAY}]}}"),
    native(HAIKU, f'{SAY},{ASSISTANT}"b"}}', CLAUDES, f",{SAY}]}}"),
    native(CLAUDE, '{"type":"text","text":"a"}', CLAUDES + USER + "[", "]}]}"),
    native(
        CLAUDE,
        '{"type":"thinking","thinking":"a"}',
        CLAUDES + SAY + "," + ASSISTANT + "[",
        ',{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]},' + SAY + "]}",
    ),
    native(
        HAIKU,
        '{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"}}',
        CLAUDES + USER + "[",
        "]}]}",
    ),
    native(CLAUDE, '{"name":"f","input_schema":{}}', CLAUDES + SAY + '],"tools":[', "]}"),
    native(
        NOVA,
        USER + '[{"text":"a"}]},' + ASSISTANT + '[{"text":"b"}]}',
        '{"messages":[',
        "," + USER + '[{"text":"a"}]}]}',
    ),
    turns_of("ai21.jamba-1-5-large-v1:0"),
    turns_of(PIXTRAL),
    turns_of("openai.gpt-oss-120b-1:0"),
    native("openai.gpt-oss-120b-1:0", '"a":[1,{}]', '{"x":{', '},"messages":[' + SAY + "]}"),
    native(LLAMA, '"iVBORw0KGgo="', '{"prompt":"<|image|>","images":[', "]}"),
    native("amazon.titan-embed-text-v2:0", '"float"', '{"inputText":"a","embeddingTypes":[', "]}"),
    native(
        "cohere.embed-v4:0",
        '{"type":"text","text":"a"}',
        '{"input_type":"clustering","inputs":[{"content":[',
        "]}]}",
    ),
)
LONG_TEXTS = (
    ("cohere.embed-english-v3", '{"input_type":"clustering","texts":["%s"]}'),
    (LLAMA, '{"prompt":"%s","images":["iVBORw0KGgo="]}'),
    ("mistral.mistral-7b-instruct-v0:2", '{"prompt":"%s"}'),
    (DEEPSEEK, '{"prompt":"%s"}'),
    ("amazon.titan-embed-text-v2:0", '{"inputText":"%s"}'),
    ("openai.gpt-oss-120b-1:0", '{"messages":[{"role":"user","content":"%s"}]}'),
    (CLAUDE, CLAUDES + '{"role":"user","content":"%s"}]}'),
    (
        HAIKU,
        CLAUDES + USER + '[{"type":"document","title":"%s","source":{"type":"text",'
        '"media_type":"text/plain","data":"a"}}]}]}',
    ),
    (
        "openai.gpt-oss-120b-1:0",
        '{"messages":[' + SAY + ',{"role":"assistant","tool_calls":[{"id":"a","function":'
        '{"name":"f","arguments":"%s"}}]}]}',
    ),
)
HEADER = "<|start_header_id|>user<|end_header_id|>a<|eot_id|>"
READ = b"[" + b",".join([b'{"role":"user","content":"a"}'] * (MOST_VALUES // 3)) + b"]"
TEXTS = ("😀", "<|image|>", HEADER, "\\u0001", '{\\"a\\":1},', "[")

Size = Literal["all that is taken", "20 MB"]
Spoil = Literal["cut off", "a wrong type", "no JSON", "no UTF-8"]
SPOILS: Mapping[Spoil, bytes] = {"a wrong type": b":3,", "no JSON": b"}", "no UTF-8": b"\xff"}


@asynccontextmanager
async def serving(state: Path) -> AsyncGenerator[App]:
    async with FakeModelServer(AnswersStatus(400)) as fake:
        key = state / "key"
        key.write_text("secret")
        servers = [
            ModelServerConfig(
                name=dialect,
                url=fake.url,
                dialect=dialect,
                models={model.removeprefix("us."): "m" for model in models},
                api_key_file=str(key),
            )
            for dialect, models in SERVED.items()
        ]
        config = Config(
            state=state,
            model_servers=tuple(servers),
            embedded=EmbeddedConfig(enabled=False),
        )
        async with assembled(config, clock=lambda: datetime.now(UTC)) as app:
            yield app


class Watch:
    """The longest time on the processor between two turns of the loop."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._since = time.thread_time()
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = time.thread_time()
        self.longest_s = max(self.longest_s, now - self._since)
        self._since = now
        self._next = self._loop.call_soon(self._turn)

    def stop(self) -> float:
        self._next.cancel()
        return self.longest_s


def holds_too_long(state: Path, model: str, operation: str, body: bytes) -> bool:
    """Each time: once may be the machine's doing."""
    # The collector passes over what all the tests before have left, of which no server has any.
    gc.collect()
    gc.freeze()
    return all(
        longest_hold_s(state, model, operation, body) > LONGEST_HOLD * reading_s()
        for _ in range(ATTEMPTS)
    )


def reading_s() -> float:
    """Processor time to read as many values as are taken in one body."""
    return min(_read_s() for _ in range(5))


def _read_s() -> float:
    began = time.thread_time()
    msgspec.json.decode(READ)
    return time.thread_time() - began


def longest_hold_s(state: Path, model: str, operation: str, body: bytes) -> float:
    async def main() -> float:
        async with serving(state) as app:
            request = signed(state, operation, body, model=model)
            watch = Watch()
            response = await app.handle(request)
            held_s = watch.stop()
            assert response.status == 400, response.body
            return held_s

    return asyncio.run(main())


@cache
def many(shape: Shape, size: Size) -> bytes:
    """As many elements as are just taken, or as 20 MB hold."""
    values = shape.element.count(",") + shape.element.count("{") + shape.element.count("[") + 1
    most = BODY_BYTES // len(shape.element) if size == "20 MB" else (MOST_VALUES - 100) // values
    elements = (
        [shape.element.replace("%d", str(number)) for number in range(most)]
        if "%d" in shape.element
        else [shape.element] * most
    )
    return (shape.before + ",".join(elements) + shape.after).encode()


def spoilt(body: bytes, how: Spoil, where: float) -> bytes:
    at = int(len(body) * where)
    if how == "cut off":
        return body[:at]
    if how == "a wrong type":
        at = max(body.rfind(b":", 0, at), 0)
        return body[:at] + SPOILS[how] + b'"":' + body[at + 1 :]
    return body[:at] + SPOILS[how] + body[at:]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.model}-{shape.element}"[7:80])
@pytest.mark.parametrize("size", get_args(Size))
def test_many_small_values_do_not_hold_the_loop(shape: Shape, size: Size, tmp_path: Path) -> None:
    body = many(shape, size)

    assert not holds_too_long(tmp_path, shape.model, shape.operation, body)


@pytest.mark.slow
def test_many_results_of_many_tools_do_not_hold_the_loop(tmp_path: Path) -> None:
    calls, results = (",".join(one % n for n in range(8_000)) for one in (CALL, RESULT))
    turns = (f"{SAY_TEXT}", f"{ASSISTANT}[{calls}]}}", f"{USER}[{results}]}}")
    body = f'{{"messages":[{",".join(turns)}],{TOOLS}}}'.encode()

    assert not holds_too_long(tmp_path, NOVA, "converse", body)


@pytest.mark.slow
@pytest.mark.parametrize("model", range(len(LONG_TEXTS)))
@pytest.mark.parametrize("text", TEXTS)
def test_a_long_text_does_not_hold_the_loop(model: int, text: str, tmp_path: Path) -> None:
    model_id, template = LONG_TEXTS[model]
    long = text * (BODY_BYTES // len(text.encode()))

    body = template.replace("%s", long).encode()

    assert not holds_too_long(tmp_path, model_id, "invoke", body)


@pytest.mark.slow
@given(
    shape=st.sampled_from(SHAPES),
    size=st.sampled_from(get_args(Size)),
    how=st.sampled_from(sorted(SPOILS.keys() | {"cut off"})),
    where=st.floats(0, 1),
)
@settings(
    max_examples=40,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_spoilt_body_does_not_hold_the_loop(
    shape: Shape, size: Size, how: Spoil, where: float, tmp_path: Path
) -> None:
    body = spoilt(many(shape, size), how, where)

    assert not holds_too_long(tmp_path, shape.model, shape.operation, body)
