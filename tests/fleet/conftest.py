import asyncio
import os
from pathlib import Path

import pytest
import uvloop

from outcrop.fleet.weights import ALL, WeightsUnavailableError, pull
from tests.fakes.certificates import Certificates


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The user's own cache, so that the weights are fetched once and not for every run."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "outcrop"
    try:
        for weights in ALL:
            asyncio.run(pull(weights, cache, print))
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
    return cache


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["asyncio", "uvloop"])
def either_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """`asyncio.run` with either: servers run on uvloop, whose sockets and TLS are its own."""
    if request.param == "uvloop":
        monkeypatch.setattr("asyncio.events.new_event_loop", uvloop.new_event_loop)
