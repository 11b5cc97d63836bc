import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from outcrop.fleet.affinity import Prefix
from outcrop.fleet.config import RoutingConfig, TimeoutsConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Request, Router
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    url_that_refuses,
)
from tests.fleet.asking import ask, opened, pool
from tests.waiting import until

QUICK = TimeoutsConfig(connect_s=1, first_byte_s=0.1, between_chunks_s=0.1)
REFUSES = "refuses connections"
SOUND = Answers([b"all"])


@asynccontextmanager
async def candidates(
    *scripts: Script | str, most: int | None = None, timeouts: TimeoutsConfig = QUICK
) -> AsyncGenerator[Sequence[Candidate]]:
    """Servers `gpu-0`, `gpu-1`, … by their scripts."""
    async with AsyncExitStack() as held:
        found: list[Candidate] = []
        for number, script in enumerate(scripts):
            if script == REFUSES:
                url = url_that_refuses()
            else:
                assert not isinstance(script, str)
                url = (await held.enter_async_context(FakeModelServer(script))).url
            server = ModelServer(
                f"gpu-{number}", Address.parse(url), timeouts=timeouts, max_concurrency=most
            )
            held.push_async_callback(server.aclose)
            found.append(Candidate(server=server, dialect="openai", served_as="m", region=None))
        yield found


FAILURES: Sequence[Script | str] = [
    AnswersStatus(401),
    AnswersStatus(404),
    AnswersStatus(429),
    AnswersStatus(500),
    AnswersStatus(503, b"{}", {"retry-after": "7"}),
    BreaksOffAfter([]),
    BreaksOffAfter([b"ha"]),
    StallsBeforeTheFirstByte(),
    StallsAfter([b"ha"]),
    REFUSES,
]


@pytest.mark.parametrize("bad", FAILURES, ids=repr)
def test_one_bad_server_among_ten_costs_no_error_and_at_most_one_more_round_trip(
    bad: Script | str,
) -> None:
    async def main() -> tuple[set[bytes], list[int]]:
        answers: set[bytes] = set()
        tries: list[int] = []
        async with candidates(bad, *[SOUND] * 9) as found:
            router, pools = Router(), pool(*found)
            for _ in range(60):
                request = Request()
                answers.add((await ask(router, pools, request))[1])
                tries.append(len(request.skipped))
        return answers, tries

    answers, tries = asyncio.run(main())

    assert answers == {b"all"}
    assert max(tries) <= 1
    # Ejected after three, or left alone after one: it is not asked again and again.
    assert sum(tries) <= 3


def test_nobody_else_is_asked_what_would_be_refused_anywhere() -> None:
    async def main() -> None:
        async with candidates(AnswersStatus(400), AnswersStatus(400)) as found:
            request = Request()
            with pytest.raises(ServerFailureError, match="status 400"):
                await ask(Router(), pool(*found), request)
            assert request.skipped == []
            assert all(one.server.state.health.well for one in found)

    asyncio.run(main())


def test_the_last_failure_is_the_answer_when_nobody_has_one() -> None:
    async def main() -> tuple[ServerFailureError, list[str]]:
        async with candidates(*[AnswersStatus(503)] * 3) as found:
            request = Request()
            with pytest.raises(ServerFailureError) as caught:
                await ask(Router(), pool(*found), request)
            return caught.value, request.skipped

    failure, skipped = asyncio.run(main())

    assert failure.status == 503
    assert len(skipped) == 2
    assert {*skipped, f"{failure.server}: status 503"} == {
        "gpu-0: status 503",
        "gpu-1: status 503",
        "gpu-2: status 503",
    }


def test_no_other_is_tried_after_the_deadline() -> None:
    async def main() -> None:
        async with candidates(*[StallsBeforeTheFirstByte()] * 2) as found:
            request = Request()
            with pytest.raises(ServerFailureError) as caught:
                await ask(Router(RoutingConfig(failover_deadline_s=0.05)), pool(*found), request)
            assert caught.value.kind is FailureKind.TIMED_OUT
            assert request.skipped == []

    asyncio.run(main())


def test_when_all_are_ejected_the_least_bad_is_tried() -> None:
    async def main() -> list[bytes]:
        async with candidates(SOUND, SOUND) as found:
            failure = ServerFailureError("x", FailureKind.REFUSED)
            now = asyncio.get_running_loop().time()
            for one, times in zip(found, (1, 2), strict=True):
                for _ in range(times):
                    one.server.state.health.failed(
                        failure, now - 5 + times, RoutingConfig(consecutive_failures=1)
                    )
            return [(await ask(Router(), pool(*found)))[1] for _ in range(5)]

    assert asyncio.run(main()) == [b"all"] * 5


def test_who_has_room_is_asked_before_who_has_none() -> None:
    async def main() -> set[str]:
        async with candidates(*[StallsAfter([b"x"])] * 4, most=1) as found:
            router, pools = Router(), pool(*found)
            attempts = [(await router.first(pools, opened))[0] for _ in range(4)]
            for attempt in attempts:
                await attempt.aclose()
            return {attempt.candidate.server.name for attempt in attempts}

    assert asyncio.run(main()) == {"gpu-0", "gpu-1", "gpu-2", "gpu-3"}


def test_a_server_is_given_as_many_calls_as_it_takes_and_the_next_when_one_ends() -> None:
    async def main() -> tuple[int, bool, int]:
        patient = TimeoutsConfig(first_byte_s=5, between_chunks_s=5)
        async with (
            candidates(StallsAfter([b"x"]), most=2, timeouts=patient) as found,
            asyncio.TaskGroup() as tasks,
        ):
            router, pools, state = Router(), pool(*found), found[0].server.state
            first, _ = await router.first(pools, opened)
            second, _ = await router.first(pools, opened)
            third = tasks.create_task(router.first(pools, opened))
            await until(lambda: router.waiting == 1)
            waited = not third.done()
            await first.aclose()
            attempt, _ = await third
            at_once = state.in_flight
            await second.aclose()
            await attempt.aclose()
            return at_once, waited, state.in_flight

    assert asyncio.run(main()) == (2, True, 0)


def test_an_attempt_that_is_closed_twice_gives_its_slot_back_once() -> None:
    async def main() -> tuple[int, int]:
        async with candidates(StallsAfter([b"x"]), most=2) as found:
            router, pools, state = Router(), pool(*found), found[0].server.state
            first, _ = await router.first(pools, opened)
            other, _ = await router.first(pools, opened)
            await first.aclose()
            await first.aclose()
            left = (state.in_flight, state.slots.in_use)
            await other.aclose()
            return left

    assert asyncio.run(main()) == (1, 1)


def test_a_call_that_finds_no_room_in_time_is_told_so() -> None:
    async def main() -> None:
        async with candidates(StallsAfter([b"x"]), most=1) as found:
            router, pools = Router(), pool(*found)
            attempt, _ = await router.first(pools, opened)
            async with aclosing(attempt):
                await ask(router, pools)

    with pytest.raises(ServerFailureError) as caught:
        asyncio.run(main())

    assert caught.value.kind is FailureKind.BUSY


@pytest.mark.parametrize(
    "script", [SOUND, AnswersStatus(500), BreaksOffAfter([b"x"]), StallsBeforeTheFirstByte()]
)
def test_room_is_given_back_however_a_call_ends(script: Script) -> None:
    async def main() -> None:
        async with candidates(script, most=1) as found:
            router, pools, state = Router(), pool(*found), found[0].server.state
            for _ in range(3):
                try:
                    async with asyncio.timeout(0.05):
                        await ask(router, pools)
                except (ServerFailureError, TimeoutError):
                    pass
                assert (state.in_flight, state.slots.in_use) == (0, 0)

    asyncio.run(main())


def test_the_source_region_answers_while_it_can_and_the_next_one_when_it_cannot() -> None:
    async def main() -> list[tuple[str, list[str]]]:
        told: list[tuple[str, list[str]]] = []
        async with candidates(SOUND, SOUND, most=1) as found:
            near, far = found
            router, pools = Router(), (Pool.of([near], "us-east-1"), Pool.of([far]))
            rules = RoutingConfig(consecutive_failures=1)
            failure = ServerFailureError("gpu-0", FailureKind.REFUSED)

            async def answered() -> None:
                request = Request()
                name, _ = await ask(router, pools, request)
                told.append((name, request.skipped))

            await answered()
            busy, _ = await router.first(pools, opened)
            await answered()
            await busy.aclose()
            await answered()
            health, now = near.server.state.health, asyncio.get_running_loop().time()
            health.failed(failure, now, rules)
            await answered()
            health.failed(failure, now - 60, rules)
        return told

    assert asyncio.run(main()) == [
        ("gpu-0", []),
        ("gpu-1", ["us-east-1: no room"]),
        ("gpu-0", []),
        ("gpu-1", ["us-east-1: no healthy server"]),
    ]


def test_a_conversation_returns_to_the_server_that_has_its_cache_unless_that_is_loaded() -> None:
    async def main() -> tuple[set[str], bool]:
        async with candidates(*[StallsAfter([b"x"])] * 8) as found:
            router, pools = Router(), pool(*found)
            first, _ = await router.first(pools, opened, Request(prefix=Prefix((), (1,))))
            holder = first.candidate.server.name
            await first.aclose()
            turns: set[str] = set()
            for turn in range(1, 20):
                request = Request(prefix=Prefix((turn,), (turn + 1,)))
                attempt, _ = await router.first(pools, opened, request)
                turns.add(attempt.candidate.server.name)
                await attempt.aclose()
            loaded = next(one for one in found if one.server.name == holder).server.state
            loaded.in_flight += 5
            away = router.preferred(pools, Request(prefix=Prefix((20,), ())))
            assert away is not None
            return turns | {holder}, away.candidate.server.name != holder

    turns, went_away = asyncio.run(main())

    assert len(turns) == 1
    assert went_away
