"""A request that fails has nothing to do with the next one, however it is compiled."""

import asyncio
import sys
from pathlib import Path

import pytest

from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.server.clock import utc_now
from outcrop.server.config import Config
from outcrop.server.wiring import assembled
from tests.fakes.model_server import url_that_refuses
from tests.server.signed import MODEL, signed

CALLERS, CALLS = 8, 6
BODY = b'{"messages":[{"role":"user","content":[{"text":"hello"}]}]}'


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["converse", "converse-stream"])
def test_no_exception_is_handled_for_longer_than_its_request(
    tmp_path: Path, operation: str
) -> None:
    """Compiled, a coroutine that waits while it handles one would leave it to others."""
    server = ModelServerConfig(name="gpu", url=url_that_refuses(), models={MODEL: "m"})
    config = Config(
        state=tmp_path / "state",
        log_level="error",
        model_servers=(server,),
        embedded=EmbeddedConfig(enabled=False),
    )
    config.state.mkdir(mode=0o700)

    async def main() -> BaseException | None:
        async with assembled(config, clock=utc_now) as app:
            request = signed(config.state, operation, BODY)

            async def ask() -> None:
                for _ in range(CALLS):
                    assert (await app.handle(request)).status == 503

            async with asyncio.TaskGroup() as tasks:
                for _ in range(CALLERS):
                    tasks.create_task(ask())
            return sys.exc_info()[1]

    assert asyncio.run(main()) is None
