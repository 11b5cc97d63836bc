import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import Call, ModelServer
from outcrop.fleet.router import Answered, Candidate, Router
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Script,
    StallsAfter,
)

CALL = Call("/embeddings", b"{}")


def call_for(_: Candidate) -> Call:
    return CALL


@asynccontextmanager
async def candidates(*scripts: Script) -> AsyncGenerator[Sequence[Candidate]]:
    """Servers that each take one call at a time."""
    async with AsyncExitStack() as held:
        found: list[Candidate] = []
        for number, script in enumerate(scripts):
            fake = await held.enter_async_context(FakeModelServer(script))
            server = ModelServer(
                f"gpu-{number}",
                Address.parse(fake.url),
                timeouts=TimeoutsConfig(),
                max_concurrency=1,
            )
            held.push_async_callback(server.aclose)
            found.append(Candidate(server=server, dialect="openai", served_as="m", region=None))
        yield found


def ask(*scripts: Script) -> Answered:
    async def main() -> Answered:
        async with candidates(*scripts) as found:
            return await Router().ask(found, call_for)

    return asyncio.run(main())


@pytest.mark.parametrize("first", [AnswersStatus(503), BreaksOffAfter([b"ha"])], ids=repr)
def test_a_whole_answer_comes_from_the_first_that_gives_one(first: Script) -> None:
    answered = ask(first, Answers([b"all"]))

    assert (answered.candidate.server.name, answered.body) == ("gpu-1", b"all")


def test_nobody_else_is_asked_what_would_be_refused_anywhere() -> None:
    with pytest.raises(ServerFailureError) as caught:
        ask(AnswersStatus(400), Answers([b"all"]))

    assert caught.value.server == "gpu-0"


def test_the_last_failure_is_the_answer_when_nobody_has_one() -> None:
    with pytest.raises(ServerFailureError) as caught:
        ask(AnswersStatus(503), AnswersStatus(500))

    assert (caught.value.server, caught.value.status) == ("gpu-1", 500)


def test_who_has_room_is_asked_before_who_has_none() -> None:
    async def main() -> list[str]:
        async with (
            candidates(StallsAfter([b"x"]), StallsAfter([b"x"])) as found,
            AsyncExitStack() as held,
        ):
            first = await Router().open(held, found, call_for)
            second = await Router().open(held, found, call_for)
            return [first.candidate.server.name, second.candidate.server.name]

    assert asyncio.run(main()) == ["gpu-0", "gpu-1"]
