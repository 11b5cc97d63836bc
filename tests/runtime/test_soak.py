"""Conversations by the thousand, with callers who leave at any moment: nothing of them stays.

`OUTCROP_SOAK` is for how many seconds.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from outcrop.fleet.config import TimeoutsConfig
from outcrop.runtime.converse import Converse
from outcrop.wire.errors import AwsError
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Pours,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    delta,
    sse,
    usage,
)
from tests.runtime.requests import converse_request, invocation, stream_request
from tests.runtime.test_converse import converse_with

SECONDS = float(os.environ.get("OUTCROP_SOAK", "3"))
AT_ONCE = 24

BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
ANSWER = sse(*(delta("word ") for _ in range(20)), delta(finish_reason="stop"), usage(9, 20))
CALL = {"index": 0, "id": "a", "function": {"name": "t", "arguments": '{"x": 1}'}}
CALLS = sse({"choices": [{"delta": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]})
SCRIPTS: Sequence[Script] = [
    Answers([ANSWER]),
    Answers([ANSWER[:400], ANSWER[400:]]),
    Answers([CALLS]),
    Answers([BEGUN, b"data: rubbish\n\n"]),
    AnswersStatus(429),
    AnswersStatus(400, b'{"error":{"message":"no"}}'),
    BreaksOffAfter([BEGUN]),
    StallsBeforeTheFirstByte(),
    StallsAfter([BEGUN]),
    Pours(BEGUN),
]


class Held(Struct, frozen=True):
    tasks: int
    files: int
    objects: int


def held() -> Held:
    gc.collect()
    gc.collect()
    files = len(list(Path("/proc/self/fd").iterdir()))
    return Held(tasks=len(asyncio.all_tasks()), files=files, objects=len(gc.get_objects()))


async def ask(converse: Converse, chance: random.Random) -> None:
    """To the end, or to where this caller has heard enough."""
    if chance.random() < 0.4:
        await converse.converse(invocation(), converse_request())
        return
    events = await converse.converse_stream(invocation(), stream_request())
    try:
        enough = chance.randrange(1, 60)
        async for _ in events:
            enough -= 1
            if not enough:
                return
    finally:
        await events.aclose()


async def come_and_go(converse: Converse, chance: random.Random) -> None:
    asking = asyncio.ensure_future(ask(converse, chance))
    # Those who wait for a model that never answers leave in the end, too.
    await asyncio.wait([asking], timeout=chance.choice([0, 0.001, 0.005, 0.02, 0.05]))
    asking.cancel()
    with contextlib.suppress(AwsError, asyncio.CancelledError):
        await asking


async def crowd(
    fakes: Sequence[FakeModelServer], conversing: Sequence[Converse], seconds: float, seed: int
) -> int:
    chance = random.Random(seed)
    until, conversations = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        chosen = [chance.choice(conversing) for _ in range(AT_ONCE)]
        await asyncio.gather(*(come_and_go(one, chance) for one in chosen))
        conversations += AT_ONCE
        for fake in fakes:
            fake.requests.clear()
    return conversations


async def settled() -> Held:
    """What is held when the servers, too, have noticed that everybody left."""
    seen: list[int] = []
    while (len(seen) < 100 and len(set(seen[-5:])) != 1) or len(seen) < 5:
        await asyncio.sleep(0.02)
        seen.append(len(asyncio.all_tasks()))
    return held()


@pytest.mark.slow
@pytest.mark.timeout(60 + 2 * SECONDS)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")
def test_callers_who_come_and_go_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    # Pytest keeps every line.
    caplog.set_level(logging.CRITICAL, logger="outcrop")

    async def main() -> tuple[Held, Held, int]:
        async with contextlib.AsyncExitStack() as stack:
            fakes = [await stack.enter_async_context(FakeModelServer(one)) for one in SCRIPTS]
            conversing = [
                await stack.enter_async_context(converse_with([fake.url], TimeoutsConfig()))
                for fake in fakes
            ]
            # What is made once is made now, and every connection that may be kept is open.
            await crowd(fakes, conversing, SECONDS / 3, seed=0)
            before = await settled()
            conversations = await crowd(fakes, conversing, SECONDS, seed=1)
            return before, await settled(), conversations

    before, after, conversations = asyncio.run(main())

    # Two tasks and two sockets for each connection that may still be kept open between calls.
    kept = 2 * AT_ONCE
    assert conversations > 10 * SECONDS
    assert after.tasks <= before.tasks + kept
    assert after.files <= before.files + kept
    # A connection has some dozen objects; one that stayed of each conversation would be seen, too.
    assert after.objects < before.objects + max(1500, conversations // 4)
