"""Servers that die, hang, flap, ask to be left alone and come back, on real sockets."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig, RoutingConfig
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.fleet_keeper import FleetKeeper, open_fleet
from outcrop.fleet.pool import Pool, Seat
from outcrop.fleet.router import Request
from tests.clocks import FakeClock
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Says,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
)
from tests.fleet.asking import ask, opened

MODEL = "amazon.nova-lite-v1:0"
REGIONS = ("us-east-1", "us-west-2")
SOUND = Answers([b"all"])
RULES = RoutingConfig(ejection_s=0.02, longest_ejection_s=0.05)
TIMEOUTS = {"connect_s": 1, "first_byte_s": 0.05, "between_chunks_s": 0.05}
# For servers that are sound, however long a busy machine lets them wait.
PATIENT = {"connect_s": 30, "first_byte_s": 30, "between_chunks_s": 30}


def server(name: str, url: str, **members: Any) -> ModelServerConfig:
    settings = {"name": name, "url": url, "models": {MODEL: "m"}, "timeouts": TIMEOUTS, **members}
    return msgspec.convert(settings, ModelServerConfig)


@asynccontextmanager
async def keeper(
    servers: Sequence[ModelServerConfig], rules: RoutingConfig = RULES
) -> AsyncGenerator[FleetKeeper]:
    settings = EmbeddedSettings(
        config=EmbeddedConfig(enabled=False), state=Path("/nowhere"), cache=Path("/nowhere")
    )
    async with (
        asyncio.TaskGroup() as tasks,
        open_fleet(
            servers, settings, routing=rules, environ={}, tasks=tasks, clock=FakeClock()
        ) as kept,
    ):
        yield kept


@asynccontextmanager
async def fleet_of(
    number: int, rules: RoutingConfig = RULES, *, impatience_s: float = 0.05
) -> AsyncGenerator[tuple[Sequence[FakeModelServer], FleetKeeper]]:
    """The first of them is not waited for longer."""
    impatient = {**TIMEOUTS, "first_byte_s": impatience_s, "between_chunks_s": impatience_s}
    async with AsyncExitStack() as held:
        fakes = [await held.enter_async_context(FakeModelServer(SOUND)) for _ in range(number)]
        configs = [
            server(f"gpu-{at}", fake.url, timeouts=PATIENT if at else impatient)
            for at, fake in enumerate(fakes)
        ]
        yield fakes, await held.enter_async_context(keeper(configs, rules))


def pools(kept: FleetKeeper) -> Sequence[Pool]:
    return kept.fleet.pools(MODEL, REGIONS, "us-east-1")


def seats(kept: FleetKeeper) -> Sequence[Seat]:
    return [seat for pool in pools(kept) for seat in pool.seats()]


def calls(fake: FakeModelServer) -> int:
    """Without probes."""
    return sum(request.path == "/v1/chat/completions" for request in fake.requests)


async def all_healthy(kept: FleetKeeper) -> None:
    """Asks near and far until everybody has come back."""
    time = asyncio.get_running_loop().time
    async with asyncio.timeout(60):
        while any(seat.state.health.state(time()) != "healthy" for seat in seats(kept)):
            for pool in pools(kept):
                await ask(kept.router, (pool,))


BAD: Sequence[Script] = [
    Says(b""),
    StallsBeforeTheFirstByte(),
    StallsAfter([b"a"]),
    BreaksOffAfter([]),
    AnswersStatus(500),
    AnswersStatus(503, b"{}", {"retry-after": "1"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_bad_server_costs_callers_nothing_and_comes_back_when_it_is_sound(bad: Script) -> None:
    async def main() -> None:
        async with fleet_of(4, impatience_s=0.25) as (fakes, kept):
            fakes[0].script = bad
            for _ in range(40):
                request = Request()
                assert (await ask(kept.router, pools(kept), request))[1] == b"all"
                assert len(request.skipped) <= 1
            assert calls(fakes[0]) <= 4
            fakes[0].script = SOUND
            await all_healthy(kept)
            before = calls(fakes[0])
            for _ in range(60):
                await ask(kept.router, pools(kept))
            assert calls(fakes[0]) > before

    asyncio.run(main())


@pytest.mark.slow
def test_a_server_that_flaps_is_ejected_longer_and_longer() -> None:
    async def main() -> Sequence[float]:
        spans: list[float] = []
        async with fleet_of(3, RoutingConfig(ejection_s=0.01, longest_ejection_s=0.16)) as (
            fakes,
            kept,
        ):
            health = seats(kept)[0].state.health
            for _ in range(4):
                fakes[0].script = Says(b"")
                async with asyncio.timeout(5):
                    while not health.ejected:
                        await ask(kept.router, pools(kept))
                spans.append(health.left_alone_until - asyncio.get_running_loop().time())
                fakes[0].script = SOUND
                await all_healthy(kept)
        return spans

    spans = asyncio.run(main())

    assert spans[3] > 2 * spans[0]


def test_a_dead_server_is_found_out_by_probes_and_not_by_callers() -> None:
    async def main() -> tuple[int, int]:
        async with fleet_of(2) as (fakes, kept):
            fakes[0].script = Says(b"")
            async with asyncio.timeout(5):
                while not seats(kept)[0].state.health.ejected:
                    await ask(kept.router, pools(kept))
                asked, probes = calls(fakes[0]), len(fakes[0].requests) - calls(fakes[0])
                while len(fakes[0].requests) - calls(fakes[0]) < probes + 4:
                    request = Request()
                    await ask(kept.router, pools(kept), request)
                    assert request.skipped == []
            return asked, calls(fakes[0])

    before, after = asyncio.run(main())

    assert before == after


def test_a_region_that_is_cut_off_is_left_for_the_other_and_found_again() -> None:
    async def main() -> list[str]:
        async with FakeModelServer(SOUND) as east, FakeModelServer(SOUND) as west:
            configs = [
                server("east", east.url, region="us-east-1"),
                server("west", west.url, region="us-west-2"),
            ]
            async with keeper(configs) as kept:
                names = [(await ask(kept.router, pools(kept)))[0]]
                east.script = Says(b"")
                names += [(await ask(kept.router, pools(kept)))[0] for _ in range(6)]
                east.script = SOUND
                async with asyncio.timeout(5):
                    while names[-1] != "east":
                        names.append((await ask(kept.router, pools(kept)))[0])
                return names[:7]

    assert asyncio.run(main()) == ["east", *["west"] * 6]


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks_unless_nobody_else_is_there() -> None:
    async def main() -> tuple[int, int]:
        busy = AnswersStatus(429, b"{}", {"retry-after": "60"})
        async with fleet_of(2, RoutingConfig()) as (fakes, kept):
            fakes[0].script = busy
            for _ in range(30):
                await ask(kept.router, pools(kept))
            alone = calls(fakes[0])
            fakes[1].script = busy
            with pytest.raises(ServerFailureError) as caught:
                await ask(kept.router, pools(kept))
            assert caught.value.status == 429
            return alone, calls(fakes[0])

    alone, tried = asyncio.run(main())

    assert alone == 1
    assert tried == 2


def test_a_server_that_has_left_the_fleet_is_not_probed() -> None:
    async def main() -> int:
        async with fleet_of(1) as (fakes, kept):
            before = pools(kept)
            await kept.reload([], stand_in=None, routing=RULES)
            fakes[0].script = Says(b"")
            for _ in range(3):
                with pytest.raises(ServerFailureError):
                    await ask(kept.router, before)
            assert next(before[0].seats()).state.health.ejected
            await asyncio.sleep(0.06)
            return len(fakes[0].requests) - calls(fakes[0])

    assert asyncio.run(main()) == 0


async def caller(kept: FleetKeeper, chance: random.Random) -> None:
    await asyncio.sleep(chance.random() * 0.05)
    attempt, chunks = await kept.router.first(pools(kept), opened)
    async with aclosing(attempt):
        async for _ in chunks:
            await asyncio.sleep(chance.choice([0, 0.001]))


async def crowd(kept: FleetKeeper, chance: random.Random) -> None:
    """Twenty callers, of whom half do not stay."""
    callers = [asyncio.ensure_future(caller(kept, chance)) for _ in range(20)]
    await asyncio.wait(callers, timeout=0.03)
    for one in chance.sample(callers, 10):
        one.cancel()
    for one in callers:
        with contextlib.suppress(ServerFailureError, asyncio.CancelledError):
            await one


@pytest.mark.slow
def test_chaos_with_reloads_and_callers_who_leave_leaves_nothing_behind() -> None:
    chance = random.Random(7)

    async def main() -> None:
        async with AsyncExitStack() as held:
            fakes = [await held.enter_async_context(FakeModelServer(SOUND)) for _ in range(5)]
            configs = [
                server(f"gpu-{at}", fake.url, max_concurrency=2, region=REGIONS[at % 2])
                for at, fake in enumerate(fakes)
            ]
            kept = await held.enter_async_context(keeper(configs))
            seen = list(seats(kept))
            for _ in range(12):
                for fake in fakes:
                    fake.script = chance.choice([SOUND, SOUND, *BAD])
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(crowd(kept, chance))
                    await asyncio.sleep(0.01)
                    await kept.reload(chance.sample(configs, 4), stand_in=None, routing=RULES)
                    seen += seats(kept)

            assert {(one.state.in_flight, one.state.slots.in_use) for one in seen} == {(0, 0)}
            assert kept.router.waiting == 0
            for fake in fakes:
                fake.script = SOUND
            await all_healthy(kept)

    asyncio.run(main())
