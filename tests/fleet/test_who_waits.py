"""What those who wait for a server hear of: one that comes back, is put in, or is taken out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.counters.shared import SharedFacts
from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig, RoutingConfig
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.fleet_keeper import FleetKeeper, Others, open_fleet
from outcrop.fleet.pool import Pool
from outcrop.fleet.router import Attempt, Request
from outcrop.fleet.shared_health import SharedHealth
from tests.clocks import FakeClock
from tests.fakes.model_server import Answers, FakeModelServer, Says, StallsAfter
from tests.fleet.asking import ask, opened
from tests.waiting import until

MODEL = "amazon.nova-lite-v1:0"
SOUND = Answers([b"all"])
ENDLESS = StallsAfter([b"x"])
RULES = RoutingConfig(consecutive_failures=1, ejection_s=0.05, longest_ejection_s=0.1)


def server(name: str, url: str, **members: Any) -> ModelServerConfig:
    settings = {"name": name, "url": url, "models": {MODEL: "m"}, "max_concurrency": 1, **members}
    return msgspec.convert(settings, ModelServerConfig)


@asynccontextmanager
async def keeper(
    servers: Sequence[ModelServerConfig], others: Others | None = None
) -> AsyncGenerator[FleetKeeper]:
    settings = EmbeddedSettings(
        config=EmbeddedConfig(enabled=False), state=Path("/nowhere"), cache=Path("/nowhere")
    )
    async with (
        asyncio.TaskGroup() as tasks,
        open_fleet(
            servers,
            settings,
            routing=RULES,
            others=others,
            environ={},
            tasks=tasks,
            clock=FakeClock(),
        ) as kept,
    ):
        yield kept


def pools(kept: FleetKeeper) -> Sequence[Pool]:
    return kept.fleet.pools(MODEL, ("us-east-1",), "us-east-1")


async def held(kept: FleetKeeper) -> Attempt:
    """A call that lasts until the test closes it."""
    attempt, _ = await kept.router.first(pools(kept), opened)
    return attempt


def going_on(kept: FleetKeeper) -> Request:
    return Request(pools=lambda: pools(kept))


def test_a_server_that_comes_back_serves_who_waits_for_another() -> None:
    async def main() -> str:
        async with FakeModelServer(ENDLESS) as busy, FakeModelServer(SOUND) as sick:
            configs = [server("busy", busy.url), server("sick", sick.url)]
            async with keeper(configs) as kept:
                seat = pools(kept)[0].seat("sick")
                assert seat
                state = seat.state
                sick.script = Says(b"")
                now = asyncio.get_running_loop().time()
                state.health.eject(now, RULES, "test")
                state.ejected()
                first = await held(kept)
                waiting = asyncio.ensure_future(ask(kept.router, pools(kept)))
                await until(lambda: kept.router.waiting == 1)
                sick.script = SOUND
                name, _ = await asyncio.wait_for(waiting, 5)
                await first.aclose()
                return name

    assert asyncio.run(main()) == "sick"


def test_a_server_that_is_put_in_serves_who_waits() -> None:
    async def main() -> str:
        async with FakeModelServer(ENDLESS) as busy, FakeModelServer(SOUND) as new:
            before = [server("busy", busy.url)]
            async with keeper(before) as kept:
                first = await held(kept)
                waiting = asyncio.ensure_future(ask(kept.router, pools(kept), going_on(kept)))
                await until(lambda: kept.router.waiting == 1)
                after = [*before, server("new", new.url)]
                await kept.reload(after, stand_in=None, routing=RULES)
                name, _ = await asyncio.wait_for(waiting, 5)
                await first.aclose()
                return name

    assert asyncio.run(main()) == "new"


@pytest.mark.parametrize("goes_on", [True, False])
def test_who_waits_for_a_server_that_is_taken_out_is_told_at_once(*, goes_on: bool) -> None:
    async def main() -> ServerFailureError:
        async with FakeModelServer(ENDLESS) as busy, keeper([server("busy", busy.url)]) as kept:
            first = await held(kept)
            request = going_on(kept) if goes_on else None
            waiting = asyncio.ensure_future(ask(kept.router, pools(kept), request))
            await until(lambda: kept.router.waiting == 1)
            await kept.reload([], stand_in=None, routing=RULES)
            with pytest.raises(ServerFailureError) as caught:
                await asyncio.wait_for(waiting, 5)
            await first.aclose()
            return caught.value

    assert asyncio.run(main()).kind is FailureKind.BUSY


def test_who_comes_to_wait_for_what_the_fleet_was_before_looks_again() -> None:
    async def main() -> str:
        async with (
            FakeModelServer(ENDLESS) as busy,
            FakeModelServer(SOUND) as new,
            keeper([server("busy", busy.url)]) as kept,
        ):
            first, before = await held(kept), pools(kept)
            await kept.reload([server("new", new.url)], stand_in=None, routing=RULES)
            name, _ = await asyncio.wait_for(ask(kept.router, before, going_on(kept)), 5)
            await first.aclose()
            return name

    assert asyncio.run(main()) == "new"


def test_calls_in_progress_count_when_a_server_s_settings_change() -> None:
    async def main() -> tuple[int, str]:
        async with FakeModelServer(ENDLESS) as gpu, keeper([server("gpu", gpu.url)]) as kept:
            first = await held(kept)
            await kept.reload([server("gpu", gpu.url, weight=2.0)], stand_in=None, routing=RULES)
            waiting = asyncio.ensure_future(ask(kept.router, pools(kept), going_on(kept)))
            await until(lambda: kept.router.waiting == 1)
            asked = len(gpu.requests)
            gpu.script = SOUND
            await first.aclose()
            name, _ = await asyncio.wait_for(waiting, 5)
            return asked, name

    assert asyncio.run(main()) == (1, "gpu")


def test_a_server_that_one_worker_ejects_is_left_alone_by_the_others() -> None:
    async def main() -> None:
        facts = SharedFacts(FakeClock())
        async with FakeModelServer(Says(b"")) as bad, FakeModelServer(SOUND) as good:
            configs = [server("bad", bad.url), server("good", good.url)]
            async with AsyncExitStack() as workers:
                one, two = [
                    await workers.enter_async_context(
                        keeper(configs, Others(health=SharedHealth(facts, f"worker-{number}")))
                    )
                    for number in range(2)
                ]
                while len(bad.requests) == 0:
                    await ask(one.router, pools(one))
                seat = pools(two)[0].seat("bad")
                assert seat
                await until(lambda: seat.state.health.ejected, within_s=1)
                for _ in range(10):
                    request = Request()
                    await ask(two.router, pools(two), request)
                    assert request.skipped == []

    asyncio.run(main())
