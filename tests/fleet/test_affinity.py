"""Which requests go on from which: the keys by which a conversation finds its server again."""

import time
from typing import Any

from msgspec import json

from outcrop.fleet.affinity import Affinity, Prefix, conversation_prefix, prompt_prefix
from outcrop.wire.shapes.bedrock_runtime import Message, SystemContentBlock

MODEL = "amazon.nova-lite-v1:0"
CALL = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "rain"}]}}


def said(role: str, *blocks: str | dict[str, Any]) -> dict[str, Any]:
    content = [{"text": block} if isinstance(block, str) else block for block in blocks]
    return {"role": role, "content": content}


def prefix(*messages: dict[str, Any], model_id: str = MODEL, system: str = "") -> Prefix:
    blocks = [SystemContentBlock(text=system)] if system else []
    found = conversation_prefix(
        model_id, blocks, json.decode(json.encode(messages), type=list[Message])
    )
    assert found is not None
    return found


def goes_on(before: Prefix, after: Prefix) -> bool:
    affinity = Affinity(100)
    affinity.keep(before, "gpu-1")
    return affinity.server(after) == "gpu-1"


FIRST = said("user", "Who was Ada Lovelace?")
ANSWER = said("assistant", "A mathematician.")
NEXT = said("user", "And Babbage?")


def test_the_next_turn_goes_on_from_the_last() -> None:
    first, second = prefix(FIRST), prefix(FIRST, ANSWER, NEXT)
    third = prefix(FIRST, ANSWER, NEXT, said("assistant", "An engineer."), said("user", "Why?"))

    assert goes_on(first, second)
    assert goes_on(second, third)
    assert not goes_on(first, third)
    assert not goes_on(first, prefix(FIRST))


def test_a_tools_result_goes_on_from_its_call() -> None:
    asked = prefix(FIRST)
    called = prefix(FIRST, said("assistant", CALL), said("user", RESULT))
    after = prefix(
        FIRST, said("assistant", CALL), said("user", RESULT), said("assistant", "Rain."), NEXT
    )

    assert goes_on(asked, called)
    assert goes_on(called, after)


def test_another_model_system_prompt_or_beginning_is_another_conversation() -> None:
    after = prefix(FIRST, ANSWER, NEXT)

    assert not goes_on(prefix(FIRST, model_id="meta.llama3-8b-instruct-v1:0"), after)
    assert not goes_on(prefix(FIRST, system="Be brief."), after)
    assert not goes_on(prefix(said("user", "Who was Alan Turing?")), after)


def test_a_raw_prompt_goes_on_from_its_longest_known_beginning() -> None:
    affinity = Affinity(100)
    opening = "You are a helpful assistant. " * 20
    story, letter = opening + "Tell a story. " * 60, opening + "Write a letter. " * 60

    for text, server in ((story, "gpu-1"), (letter, "gpu-2")):
        found = prompt_prefix(MODEL, text)
        assert found is not None
        affinity.keep(found, server)

    for text, server in ((story, "gpu-1"), (letter, "gpu-2")):
        after = prompt_prefix(MODEL, text + "Go on. " * 200)
        assert after is not None
        assert affinity.server(after) == server
    assert prompt_prefix(MODEL, "hello") is None


def test_the_oldest_are_forgotten() -> None:
    affinity = Affinity(3)

    for key in range(5):
        affinity.keep(Prefix((), (key,)), f"gpu-{key}")

    assert len(affinity) == 3
    assert [affinity.server(Prefix((key,), ())) for key in (1, 2)] == [None, "gpu-2"]


def test_a_long_conversation_costs_no_more_than_a_short_one() -> None:
    turns = [said("user", "word " * 50), said("assistant", "word " * 50)]

    def cost(number: int) -> float:
        messages = json.decode(json.encode([*turns * number, NEXT]), type=list[Message])
        least = float("inf")
        for _ in range(20):
            began = time.process_time()
            for _ in range(50):
                conversation_prefix(MODEL, (), messages)
            least = min(least, time.process_time() - began)
        return least

    assert cost(500) < 3 * cost(5)
