"""The fleet as the configuration says, as servers say, and as the next configuration says."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.config import (
    EmbeddedConfig,
    InvalidFleetConfigError,
    ModelServerConfig,
    RoutingConfig,
)
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.fleet_keeper import FleetKeeper, open_fleet
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Router
from outcrop.store.catalogue import Catalogue
from tests.clocks import FakeClock
from tests.fakes.model_server import Answers, AnswersStatus, FakeModelServer, Script, StallsAfter
from tests.fleet.asking import ask, opened as begun

LLAMA = "meta.llama3-1-8b-instruct-v1:0"
NOVA = "amazon.nova-lite-v1:0"
LISTS_NOVA = AnswersStatus(
    200,
    msgspec.json.encode(
        {"data": [{"id": NOVA, "supported_parameters": ["tools"]}, {"id": "unheard-of"}]}
    ),
    {"content-type": "application/json"},
)


def server(name: str, url: str = "http://127.0.0.1:1/v1", **members: Any) -> ModelServerConfig:
    settings = {"name": name, "url": url, "models": {LLAMA: "llama"}, **members}
    return msgspec.convert(settings, ModelServerConfig)


def discovering(url: str, **members: Any) -> ModelServerConfig:
    settings = {"name": "gpu", "url": url, "discover": True, "discover_every_s": 0.01, **members}
    return msgspec.convert(settings, ModelServerConfig)


@asynccontextmanager
async def keeper(*servers: ModelServerConfig, **embedded: Any) -> AsyncGenerator[FleetKeeper]:
    settings = EmbeddedSettings(
        config=msgspec.convert(embedded, EmbeddedConfig),
        state=Path("/nowhere"),
        cache=Path("/nowhere"),
    )
    async with (
        asyncio.TaskGroup() as tasks,
        open_fleet(servers, settings, environ={}, tasks=tasks, clock=FakeClock()) as opened,
    ):
        yield opened


def candidates(opened: FleetKeeper, model_id: str) -> Sequence[Candidate]:
    return [found for pool in pools(opened, model_id) for found in pool.candidates]


def pools(opened: FleetKeeper, model_id: str) -> Sequence[Pool]:
    return opened.fleet.pools(model_id, ("us-east-1",), "us-east-1")


def names(opened: FleetKeeper, model_id: str = LLAMA) -> list[str]:
    return [candidate.server.name for candidate in candidates(opened, model_id)]


def found(script: Script, **members: Any) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
    """Who serves Nova and Llama when a server is asked for its models."""

    async def main() -> tuple[Sequence[Candidate], Sequence[Candidate]]:
        async with (
            FakeModelServer(script) as fake,
            keeper(discovering(fake.url, **members)) as opened,
        ):
            return candidates(opened, NOVA), candidates(opened, LLAMA)

    return asyncio.run(main())


def test_models_that_a_server_has_are_served_under_their_own_names() -> None:
    (nova,), llama = found(LISTS_NOVA)

    assert (nova.served_as, llama) == (NOVA, [])


def test_a_mapping_is_the_operators_word_listed_or_not() -> None:
    (nova,), (llama,) = found(LISTS_NOVA, models={NOVA: "unheard-of", LLAMA: "llama"})

    assert (nova.served_as, llama.served_as) == ("unheard-of", "llama")


def test_abilities_are_the_operators_word_then_the_servers_then_the_usual() -> None:
    (nova,), _ = found(LISTS_NOVA, capabilities={"reasoning": True})

    assert nova.capabilities == Capabilities(tools=True, json_schema=False, reasoning=True)


@pytest.mark.parametrize(
    "script", [AnswersStatus(404), AnswersStatus(200, b"<html>"), Answers([b"x"])], ids=repr
)
def test_a_server_that_tells_nothing_serves_what_is_named(script: Script) -> None:
    nova, (llama,) = found(script, models={LLAMA: "llama"})

    assert (nova, llama.served_as) == ([], "llama")


def test_a_server_that_changes_its_models_is_believed_soon() -> None:
    async def main() -> list[str]:
        changed = asyncio.Event()
        fake = FakeModelServer(LISTS_NOVA)
        async with fake, keeper(discovering(fake.url)) as opened:
            before = names(opened, NOVA)
            opened.fleet.watch(changed.set)
            fake.script = AnswersStatus(200, b'{"data":[]}')
            async with asyncio.timeout(2):
                await changed.wait()
            return [*before, *names(opened, NOVA)]

    assert asyncio.run(main()) == ["gpu"]


def test_what_a_server_had_it_has_until_it_says_otherwise() -> None:
    async def main() -> list[str]:
        fake = FakeModelServer(LISTS_NOVA)
        async with fake, keeper(discovering(fake.url)) as opened:
            fake.script = AnswersStatus(500)
            async with asyncio.timeout(2):
                for _ in range(3):
                    fake.asked.clear()
                    await fake.asked.wait()
            return names(opened, NOVA)

    assert asyncio.run(main()) == ["gpu"]


def test_anthropics_and_amazons_servers_read_files_and_continue_no_prompts() -> None:
    async def main() -> Capabilities:
        async with keeper(server("claude", dialect="anthropic")) as opened:
            return candidates(opened, LLAMA)[0].capabilities

    assert asyncio.run(main()) == Capabilities(documents=True, completions=False)


def test_a_new_configuration_is_followed_by_the_next_call() -> None:
    async def main() -> list[list[str]]:
        async with keeper(server("one"), server("two")) as opened:
            before = names(opened)
            await opened.reload([server("two"), server("three")], stand_in=None)
            return [before, names(opened)]

    assert asyncio.run(main()) == [["one", "two"], ["two", "three"]]


def test_a_call_in_progress_ends_where_it_began_and_its_connection_then() -> None:
    async def main() -> None:
        async with (
            FakeModelServer(StallsAfter([b"one"])) as fake,
            keeper(server("gpu", fake.url)) as opened,
        ):
            attempt, chunks = await Router().first(pools(opened, LLAMA), begun)
            async with aclosing(attempt):
                await opened.reload([], stand_in=None)
                assert names(opened) == []
                assert await anext(chunks) == b"one"
                assert not fake.left.is_set()
            async with asyncio.timeout(0.1):
                await fake.left.wait()

    asyncio.run(main())


def test_a_server_that_stays_as_it_was_keeps_its_connections() -> None:
    async def main() -> int:
        async with (
            FakeModelServer(Answers([b"x"])) as fake,
            keeper(server("gpu", fake.url)) as opened,
        ):
            for _ in range(3):
                await ask(Router(), pools(opened, LLAMA))
                await opened.reload([server("gpu", fake.url)], stand_in=None)
            return fake.connections

    assert asyncio.run(main()) == 1


def test_a_key_that_changed_in_its_file_is_used_from_then_on(tmp_path: Path) -> None:
    async def main() -> list[str]:
        key = tmp_path / "key"
        key.write_text("old")
        async with FakeModelServer(Answers([b"x"])) as fake:
            config = server("gpu", fake.url, api_key_file=str(key))
            async with keeper(config) as opened:
                await ask(Router(), pools(opened, LLAMA))
                key.write_text("new")
                await opened.reload([config], stand_in=None)
                await ask(Router(), pools(opened, LLAMA))
            return [request.headers["authorization"] for request in fake.requests]

    assert asyncio.run(main()) == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    "bad",
    [
        server("two", models={"nobody.model": "x"}),
        server("two", api_key_env="OUTCROP_TEST_NO_SUCH_KEY"),
        server("two", "https://gpu/v1", tls={"ca_file": "/nowhere"}),
        server("two", "https://gpu/v1", api_key_file="/nowhere"),
    ],
    ids=lambda config: repr(config.models),
)
def test_a_bad_configuration_changes_nothing(bad: ModelServerConfig) -> None:
    async def main() -> list[str]:
        async with keeper(server("one")) as opened:
            with pytest.raises(InvalidFleetConfigError, match="model server two: "):
                await opened.reload([server("three"), bad], stand_in=True)
            return names(opened)

    assert asyncio.run(main()) == ["one"]


def test_standing_in_follows_the_configuration_too() -> None:
    async def main() -> list[bool]:
        standing_in: list[bool] = []
        nova = Catalogue().model_anywhere(NOVA)
        assert nova is not None
        async with keeper(server("one")) as opened:
            for servers, stand_in in (([server("one")], True), ([server("one")], None), ([], None)):
                await opened.reload(servers, stand_in=stand_in)
                standing_in.append(bool(opened.fleet.stand_in(nova)))
        return standing_in

    assert asyncio.run(main()) == [True, False, True]


def test_a_start_does_not_wait_for_a_server_that_is_not_there() -> None:
    async def main() -> list[str]:
        async with keeper(discovering("http://127.0.0.1:1/v1", models={LLAMA: "llama"})) as opened:
            return names(opened)

    assert asyncio.run(main()) == ["gpu"]


def test_the_rules_of_routing_follow_the_configuration() -> None:
    rules = RoutingConfig(consecutive_failures=7)

    async def main() -> RoutingConfig:
        async with keeper(server("one")) as opened:
            await opened.reload([server("one")], stand_in=None, routing=rules)
            return opened.router.rules

    assert asyncio.run(main()) == rules
