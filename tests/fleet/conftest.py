import asyncio
import os
from pathlib import Path

import pytest

from outcrop.fleet.weights import SMOLLM2, WeightsUnavailableError, pull


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The user's own cache, so that the weights are fetched once and not for every run."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "outcrop"
    try:
        asyncio.run(pull(SMOLLM2, cache, print))
    except WeightsUnavailableError as error:
        pytest.skip(str(error))
    return cache
