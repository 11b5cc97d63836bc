"""A real Valkey, and counters in it."""

from collections.abc import Generator

import pytest

from tests.clocks import FakeClock
from tests.valkey import ValkeyProcess, valkey_server


@pytest.fixture(scope="session")
def one_valkey() -> Generator[ValkeyProcess]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def valkey(one_valkey: ValkeyProcess) -> ValkeyProcess:
    """Empty, and for a test that leaves it running."""
    with one_valkey.client() as client:
        client.flushall()
    return one_valkey


@pytest.fixture
def own_valkey() -> Generator[ValkeyProcess]:
    """For a test that kills it."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
