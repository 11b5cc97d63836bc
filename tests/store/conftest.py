"""Every test of the store runs on both engines."""

from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest

from tests.clocks import FakeClock
from tests.postgres import drop_database, new_database, postgres_server

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[str]:
    """Where a new, empty database is."""
    if request.param == "sqlite":
        yield str(tmp_path / "outcrop.db")
        return
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    yield new_database(server, name)
    drop_database(server, name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
