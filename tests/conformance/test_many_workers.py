"""Workers and machines that share a Valkey ask a model server no more at once than it takes."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.processes import family
from tests.conformance.kills import Kill, kill_all, lose_one
from tests.conformance.traffic import MODEL, Callers, CountingServer, converse_request
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.valkey import ValkeyProcess, valkey_server
from tests.waiting import until

pytestmark = pytest.mark.slow

SLOTS = 6


@pytest.fixture
def valkey() -> Generator[ValkeyProcess]:
    with valkey_server() as server:
        yield server


def config(url: str, valkey: ValkeyProcess | None, *, workers: int = 1, more: str = "") -> str:
    shared = "" if valkey is None else f'[valkey]\nurl = "{valkey.url}"\n'
    return f"""
workers = {workers}
{shared}
{more}
[embedded]
enabled = false
[routing]
ejection_s = 0.2
longest_ejection_s = 0.5
[[model_servers]]
name = "gpu"
url = "{url}"
models = {{ "{MODEL}" = "m" }}
max_concurrency = {SLOTS}
"""


@asynccontextmanager
async def loaded(
    folder: Path, settings: str, *, callers: int
) -> AsyncGenerator[tuple[OutcropProcess, Callers]]:
    """A machine, and callers who stop when the block ends, but before the machine does."""
    with outcrop_process(folder, config=settings) as server:
        async with asyncio.TaskGroup() as tasks:
            calling = Callers(tasks)
            calling.start(callers, server.url, converse_request(server))
            yield server, calling
            await calling.stop()


async def until_more(gpu: CountingServer, number: int) -> None:
    """Are answered than now."""
    enough = gpu.answered + number
    await until(lambda: gpu.answered > enough)


def test_two_workers_keep_a_server_full_and_never_ask_it_more(
    tmp_path: Path, valkey: ValkeyProcess
) -> None:
    async def main() -> None:
        async with CountingServer(0.02) as gpu:
            settings = config(gpu.url, valkey, workers=2)
            async with loaded(tmp_path, settings, callers=30) as (_, callers):
                await until(lambda: gpu.at_once == SLOTS)
                await until_more(gpu, 300)
            assert gpu.most_at_once == SLOTS
            assert set(callers.statuses) == {200}

    asyncio.run(main())


def test_without_valkey_workers_split_a_server_s_slots(tmp_path: Path) -> None:
    async def main() -> None:
        async with CountingServer(0.02) as gpu:
            settings = config(gpu.url, None, workers=2)
            async with loaded(tmp_path, settings, callers=40) as (_, callers):
                await until_more(gpu, 200)
            assert gpu.most_at_once <= SLOTS
            assert set(callers.statuses) == {200}

    asyncio.run(main())


@pytest.mark.parametrize(("workers", "kill"), [(1, kill_all), (2, lose_one)])
def test_a_machine_that_is_killed_or_loses_a_worker_leaves_its_slots_to_the_others(
    tmp_path: Path, valkey: ValkeyProcess, workers: int, kill: Kill
) -> None:
    async def main() -> None:
        async with CountingServer(0.05) as gpu:
            doomed, other = (config(gpu.url, valkey, workers=number) for number in (workers, 1))
            async with loaded(tmp_path / "one", doomed, callers=20) as (one, _):
                await until(lambda: gpu.at_once == SLOTS)
                # The other has traffic, too, and nobody is asked more for it.
                async with loaded(tmp_path / "two", other, callers=20) as (_, callers):
                    await until_more(gpu, 100)
                    assert gpu.most_at_once == SLOTS
                    await asyncio.to_thread(kill, one)
                    await until(lambda: gpu.at_once == SLOTS, within_s=6)
                    await until_more(gpu, 50)
                    assert gpu.at_once <= SLOTS
                # Who comes while a dead worker has the slots waits for them, and is not refused.
                assert set(callers.statuses) == {200}

    asyncio.run(main())


def test_a_machine_that_hung_does_not_use_what_the_other_has_leased_meanwhile(
    tmp_path: Path, valkey: ValkeyProcess
) -> None:
    def known() -> int:
        with valkey.client() as client:
            return int(client.zcard("{outcrop}:workers"))

    async def main() -> None:
        async with CountingServer(0.05) as gpu:
            settings = config(gpu.url, valkey)
            async with (
                loaded(tmp_path / "one", settings, callers=15) as (one, callers),
                loaded(tmp_path / "two", settings, callers=15) as (_, others),
            ):
                await until_more(gpu, 100)
                hung = family(one.process.pid)
                # None has a slot and has not sent its call yet.
                await until(lambda: gpu.at_once == SLOTS)
                for pid in hung:
                    os.kill(pid, signal.SIGSTOP)
                await until(lambda: known() == 1)
                await until(lambda: gpu.at_once == SLOTS)
                for pid in hung:
                    os.kill(pid, signal.SIGCONT)
                await until(lambda: known() == 2)
                await until_more(gpu, 200)
            assert gpu.most_at_once <= SLOTS
            assert {*callers.statuses, *others.statuses} == {200}

    asyncio.run(main())


def test_an_idle_worker_s_slots_are_the_busy_one_s_within_moments(
    tmp_path: Path, valkey: ValkeyProcess
) -> None:
    async def main() -> None:
        async with CountingServer(30) as gpu:
            settings = config(gpu.url, valkey)
            with outcrop_process(tmp_path / "idle", config=settings):
                async with loaded(tmp_path / "busy", settings, callers=SLOTS + 2) as (busy, _):
                    took_s = await until(lambda: gpu.at_once == SLOTS)
                    assert took_s < 3
                    await asyncio.to_thread(kill_all, busy)
            assert gpu.most_at_once == SLOTS

    asyncio.run(main())


QUOTAS = """
[[quotas]]
requests_per_minute = 1_000_000
concurrent_requests = 1_000
"""


def test_slots_and_quotas_survive_a_valkey_that_is_killed_under_load(
    tmp_path: Path, valkey: ValkeyProcess
) -> None:
    """It comes back empty; what it does not know, nobody is given twice."""

    async def main() -> None:
        async with CountingServer(0.05) as gpu:
            settings = config(gpu.url, valkey, workers=2, more=QUOTAS)
            async with loaded(tmp_path, settings, callers=30) as (_, callers):
                for _ in range(2):
                    await until(lambda: gpu.at_once == SLOTS)
                    await asyncio.to_thread(valkey.stop)
                    refused = callers.statuses[503]
                    await until(lambda seen=refused: callers.statuses[503] > seen)  # type: ignore[misc]
                    await asyncio.to_thread(valkey.start)
                    await until_more(gpu, 100)
                await callers.stop()
                assert gpu.most_at_once == SLOTS
                assert set(callers.statuses) == {200, 503}
                with valkey.client() as client:
                    await until(lambda: not client.keys("{outcrop}:held:*/concurrent"))

    asyncio.run(main())


def test_a_model_server_that_dies_under_load_is_asked_again_when_it_is_back(
    tmp_path: Path, valkey: ValkeyProcess
) -> None:
    async def main() -> None:
        async with CountingServer(0.02) as gpu:
            settings = config(gpu.url, valkey, workers=2)
            async with loaded(tmp_path, settings, callers=20) as (_, callers):
                await until_more(gpu, 100)
                await gpu.die()
                await until(lambda: callers.statuses.total() > callers.statuses[200] + 20)
                await gpu.start()
                await until_more(gpu, 200)
            assert gpu.most_at_once == SLOTS

    asyncio.run(main())


def test_who_waits_for_a_server_that_is_taken_out_goes_on_to_the_one_put_in(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with CountingServer(60) as old, CountingServer(0.01) as new:
            with outcrop_process(tmp_path, config=config(old.url, None)) as server:
                async with asyncio.TaskGroup() as tasks:
                    callers = Callers(tasks)
                    callers.start(SLOTS + 10, server.url, converse_request(server))
                    await until(lambda: old.at_once == SLOTS)
                    (tmp_path / "config.toml").write_text(
                        config(new.url, None).replace('"gpu"', '"gpu-2"')
                    )
                    server.process.send_signal(signal.SIGHUP)
                    await until(lambda: callers.statuses[200] >= 10)
                    assert set(callers.statuses) == {200}
                    await old.die()
                    await callers.stop()

    asyncio.run(main())
