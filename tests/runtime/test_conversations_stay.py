"""The turns of one conversation go to the server that has its cache, by whichever operation."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.runtime.converse import Converse
from outcrop.runtime.embeddings import Embeddings
from outcrop.runtime.inference import Inference
from outcrop.runtime.invoke_model import InvokeModel
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue
from outcrop.wire.shapes.bedrock_runtime import InvokeModelRequest
from tests.clocks import FakeClock
from tests.fakes.model_server import Answers, FakeModelServer, delta, sse, usage
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.admitting import unlimited
from tests.runtime.requests import converse_request, invocation

NOVA = "amazon.nova-lite-v1:0"
LLAMA = "meta.llama3-8b-instruct-v1:0"
ANSWER = Answers([sse(delta("Yes."), delta(finish_reason="stop"), usage(9, 2))])
COMPLETION = Answers(
    [sse({"choices": [{"index": 0, "text": "Yes.", "finish_reason": "stop"}]}, usage(9, 2))]
)


class Asking(Struct, frozen=True):
    converse: Converse
    invoke_model: InvokeModel

    async def by_converse(self, messages: Sequence[Any]) -> str:
        made = invocation()
        await self.converse.converse(made, converse_request(messages=[*messages]))
        return str(made.served_by)

    async def by_invoke_model(self, messages: Sequence[Any]) -> str:
        body = {"schemaVersion": "messages-v1", "messages": [*messages]}
        return await self.by_native_body(NOVA, body)

    async def by_native_body(self, model_id: str, body: Any) -> str:
        made = invocation()
        request = InvokeModelRequest(model_id=model_id, body=json.dumps(body).encode())
        await self.invoke_model.invoke_model(made, request)
        return str(made.served_by)


@asynccontextmanager
async def asking(script: Answers) -> AsyncGenerator[Asking]:
    async with AsyncExitStack() as held:
        served: list[Served] = []
        for number in range(8):
            fake = await held.enter_async_context(FakeModelServer(script))
            server = ModelServer(
                f"gpu-{number}", Address.parse(fake.url), timeouts=TimeoutsConfig()
            )
            held.push_async_callback(server.aclose)
            candidate = Candidate(server, "openai", "m", None)
            served += [Served(model_id, candidate) for model_id in (NOVA, LLAMA)]
        targets = Targets(
            Catalogue(),
            Fleet(served, stand_in=None),
            FakeInferenceProfiles(),
            FakeProvisionedModelThroughputs(),
        )
        router = Router()
        inference = Inference(targets, unlimited(), router, clock=FakeClock())
        yield Asking(
            Converse(inference),
            InvokeModel(inference, Embeddings(unlimited(), router), clock=FakeClock()),
        )


def turns(number: int) -> Sequence[Any]:
    """Of a conversation, up to its question of that number."""
    messages: list[Any] = []
    for turn in range(number):
        messages += [
            {"role": "user", "content": [{"text": f"Question {turn}?"}]},
            {"role": "assistant", "content": [{"text": "Yes."}]},
        ]
    return [*messages, {"role": "user", "content": [{"text": f"Question {number}?"}]}]


@pytest.mark.parametrize(
    "ways", [("converse",), ("invoke_model",), ("converse", "invoke_model")], ids="+".join
)
def test_a_conversation_stays_where_its_cache_is(ways: Sequence[str]) -> None:
    async def main() -> set[str]:
        async with asking(ANSWER) as asked:
            return {
                await getattr(asked, f"by_{ways[turn % len(ways)]}")(turns(turn))
                for turn in range(10)
            }

    assert len(asyncio.run(main())) == 1


def test_a_raw_prompt_stays_where_its_beginning_is() -> None:
    prompt = "<|begin_of_text|>" + "Tell me of the sea. " * 40

    async def main() -> set[str]:
        async with asking(COMPLETION) as asked:
            return {
                await asked.by_native_body(LLAMA, {"prompt": prompt + "Go on. " * 20 * turn})
                for turn in range(10)
            }

    assert len(asyncio.run(main())) == 1


def test_other_conversations_go_elsewhere() -> None:
    async def main() -> set[str]:
        async with asking(ANSWER) as asked:
            return {
                await asked.by_converse([{"role": "user", "content": [{"text": f"Hello {one}"}]}])
                for one in range(40)
            }

    assert len(asyncio.run(main())) > 2
