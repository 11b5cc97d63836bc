"""Converse through a model server on a real socket: tools, documents, slow readers."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.runtime.converse import Converse
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import ContentBlockStartEvent
from tests.fakes.model_server import (
    Answers,
    FakeModelServer,
    StallsAfter,
    delta,
    sse,
    usage,
)
from tests.runtime.requests import converse_request, invocation, stream_request
from tests.runtime.served import converse_over

ANSWER = sse(delta("Hi"), delta(finish_reason="stop"), usage(9, 2))
TOOLS = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
PICTURE = {"image": {"format": "png", "source": {"bytes": "aGk="}}}
BLIND = Capabilities(images=False)


@asynccontextmanager
async def converse_with(*servers: tuple[str, Capabilities]) -> AsyncGenerator[Converse]:
    opened = [
        ModelServer(f"gpu-{number}", Address.parse(url), timeouts=TimeoutsConfig())
        for number, (url, _) in enumerate(servers)
    ]
    candidates = [
        Candidate(server=server, dialect="openai", served_as="m", region=None, capabilities=able)
        for server, (_, able) in zip(opened, servers, strict=True)
    ]
    async with converse_over(opened, candidates) as converse:
        yield converse


def content(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def call(fragment: str, **more: Any) -> Any:
    tool_call = {"index": 0, "function": {"arguments": fragment}, **more}
    return {"choices": [{"delta": {"tool_calls": [tool_call]}}]}


def test_a_tool_is_called_and_its_input_is_an_object() -> None:
    begun = call('{"x"', id="a", function={"name": "t", "arguments": '{"x"'})
    stream = sse(begun, call(": 1}"), delta(finish_reason="tool_calls"), usage(9, 2))

    async def main() -> Any:
        async with (
            FakeModelServer(Answers([stream])) as fake,
            converse_with((fake.url, Capabilities())) as converse,
        ):
            return await converse.converse(invocation(), converse_request(toolConfig=TOOLS))

    output = asyncio.run(main())

    assert output.stop_reason == "tool_use"
    assert bytes(output.output.message.content[0].tool_use.input) == b'{"x": 1}'


def test_a_tools_block_starts_as_soon_as_its_name_is_known() -> None:
    begun = sse(call("", id="a", function={"name": "t", "arguments": ""}))
    begun = begun.removesuffix(b"data: [DONE]\n\n")

    async def main() -> list[Any]:
        async with (
            FakeModelServer(StallsAfter([begun])) as fake,
            converse_with((fake.url, Capabilities())) as converse,
        ):
            events = await converse.converse_stream(invocation(), stream_request(toolConfig=TOOLS))
            seen = [await anext(events), await anext(events)]
            await events.aclose()
            async with asyncio.timeout(0.1):
                await fake.left.wait()
        return seen

    assert isinstance(asyncio.run(main())[1], ContentBlockStartEvent)


def test_a_document_reaches_a_server_as_its_text() -> None:
    source = {"bytes": b64encode(b"<p>Hello</p>").decode()}
    document = {"document": {"format": "html", "name": "page", "source": source}}

    async def main() -> Any:
        async with (
            FakeModelServer(Answers([ANSWER])) as fake,
            converse_with((fake.url, Capabilities())) as converse,
        ):
            messages = content({"text": "?"}, document)
            await converse.converse(invocation(), converse_request(messages=messages))
            return fake.requests[0].json["messages"][0]["content"][1]["text"]

    assert asyncio.run(main()) == '<document name="page">\nHello\n</document>'


def test_a_server_that_sees_is_asked_about_a_picture() -> None:
    async def main() -> Sequence[int]:
        async with (
            FakeModelServer(Answers([ANSWER])) as blind,
            FakeModelServer(Answers([ANSWER])) as seeing,
            converse_with((blind.url, BLIND), (seeing.url, Capabilities())) as converse,
        ):
            await converse.converse(invocation(), converse_request(messages=content(PICTURE)))
            return len(blind.requests), len(seeing.requests)

    assert asyncio.run(main()) == (0, 1)


def test_a_picture_that_nobody_sees_is_refused_before_any_server_is_asked() -> None:
    async def main() -> None:
        async with (
            FakeModelServer(Answers([ANSWER])) as blind,
            converse_with((blind.url, BLIND)) as converse,
        ):
            with pytest.raises(ValidationException, match="support the image field for user"):
                await converse.converse(invocation(), converse_request(messages=content(PICTURE)))
            assert blind.requests == []

    asyncio.run(main())


class Pours:
    """Chunks without end, counted as the socket takes them."""

    def __init__(self) -> None:
        self.taken = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> bytes:
        if self.taken >= 4000:
            raise IndexError
        self.taken += 1
        return sse(delta("x" * 16_000)).removesuffix(b"data: [DONE]\n\n")


def test_a_reader_that_waits_makes_the_model_server_wait() -> None:
    async def main() -> int:
        pours: Any = Pours()
        async with (
            FakeModelServer(Answers(pours)) as fake,
            converse_with((fake.url, Capabilities())) as converse,
        ):
            events = await converse.converse_stream(invocation(), stream_request())
            before = -1
            while pours.taken != before:
                before = pours.taken
                for _ in range(200):
                    await asyncio.sleep(0)
            await events.aclose()
        return before

    # 64 MB would come; kernel buffers and ours hold a few.
    assert asyncio.run(main()) < 1500
