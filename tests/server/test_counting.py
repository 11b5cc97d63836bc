"""Which counters a configuration gives, and which it does not allow."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from outcrop.counters.limit import Grant, Hold, Limit
from outcrop.counters.local import LocalCounters
from outcrop.counters.valkey import ValkeyCounters
from outcrop.fleet.leases import Leases, Split
from outcrop.server.clock import steady_clock
from outcrop.server.config import Config, ConfigurationError, load_config
from outcrop.server.parts import Counting, open_counters
from tests.clocks import FakeClock
from tests.outcrop_process import outcrop_process
from tests.valkey import valkey_server

TOKENS = Limit(key="tokens", most=10, span_s=60)


def granted(config: Config) -> Counting:
    async def run() -> Counting:
        async with (
            asyncio.TaskGroup() as tasks,
            open_counters(config, clock=FakeClock(), tasks=tasks) as counting,
        ):
            assert isinstance(await counting.counters.hold([Hold(TOKENS, 10)]), Grant)
            assert not isinstance(await counting.counters.hold([Hold(TOKENS, 1)]), Grant)
            return counting

    return asyncio.run(run())


def test_without_valkey_a_process_counts_for_itself() -> None:
    counting = granted(Config())

    assert isinstance(counting.counters, LocalCounters)
    assert counting.others.sharing == Split(1)


def test_with_valkey_it_counts_there() -> None:
    with valkey_server() as valkey:
        counting = granted(load_config(None, {"valkey": {"url": valkey.url}}))

    assert isinstance(counting.counters, ValkeyCounters)
    assert isinstance(counting.others.sharing, Leases)


@pytest.mark.slow
def test_workers_that_are_served_by_one_valkey_all_say_that_they_are_there(
    tmp_path: Path,
) -> None:
    with valkey_server() as valkey:
        config = f'workers = 2\n[valkey]\nurl = "{valkey.url}"\n'
        with outcrop_process(tmp_path / "state", config=config) as server:
            with valkey.client() as client:
                assert client.zcard("{outcrop}:workers") == 2
            server.stop()
        with valkey.client() as client:
            assert client.zcard("{outcrop}:workers") == 0


@pytest.mark.parametrize(
    ("valkey", "message"),
    [
        ('url = "http://x"', "`valkey`: url begins with 'http', not with valkey://"),
        ('password_env = "A"', "`valkey`: there is no url"),
        ('url = "valkey://x"\nca_file = "a"', "`valkey`: ca_file goes with a url that begins"),
        (
            'url = "valkey://x"\npassword_env = "A"\npassword_file = "a"',
            "`valkey`: password_env and password_file are two places",
        ),
        ('when_lost = "ignore"', "`valkey.when_lost`: Invalid enum value 'ignore'"),
        ('urls = "valkey://x"', "unknown key `valkey.urls`"),
    ],
)
def test_what_valkey_cannot_be_used_with_is_refused_by_its_key(
    tmp_path: Path, valkey: str, message: str
) -> None:
    file = tmp_path / "outcrop.toml"
    file.write_text(f"[valkey]\n{valkey}")

    with pytest.raises(ConfigurationError) as caught:
        load_config(file, {})

    assert message in str(caught.value)


def test_several_workers_with_limits_need_one_place_to_count() -> None:
    several = Config(workers=4)
    with pytest.raises(ValueError, match="workers = 4 would each count for themselves"):
        several.require_one_count(limits_configured=True)

    several.require_one_count(limits_configured=False)
    Config(workers=1).require_one_count(limits_configured=True)
    shared = load_config(None, {"workers": 4, "valkey": {"url": "valkey://localhost"}})
    shared.require_one_count(limits_configured=True)


def test_a_server_with_fewer_slots_than_workers_needs_valkey_to_share_them(
    tmp_path: Path,
) -> None:
    file = tmp_path / "outcrop.toml"
    server = """
        workers = 3
        [[model_servers]]
        name = "gpu"
        url = "http://gpu:1/v1"
        models = { "amazon.nova-lite-v1:0" = "m" }
        max_concurrency = 2
    """
    file.write_text(server)
    with pytest.raises(ConfigurationError, match="gpu: max_concurrency = 2 cannot be split among"):
        load_config(file, {})

    assert load_config(file, {"valkey": {"url": "valkey://x"}}).workers == 3


def test_a_steady_clock_does_not_follow_one_that_is_set() -> None:
    clock, passed_s = FakeClock(), [100.0]
    began = clock()
    steady = steady_clock(clock, lambda: passed_s[0])
    clock.advance(hours=5)
    passed_s[0] += 7

    assert steady() == began + timedelta(seconds=7)
