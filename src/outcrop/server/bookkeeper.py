"""The bookkeeper: the process beside the workers that reads what they write down.

It brings their journals into the store and delivers invocation logs, so that the workers' time is
their callers'. Workers do it themselves only when they end, and where a budget has to know.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from outcrop.metering.delivery.deliverer import open_deliverer
from outcrop.metering.importer import Importer, LogSpool
from outcrop.server.child import run_child, stop_event
from outcrop.server.clock import utc_now
from outcrop.server.config import Config, ConfigurationError
from outcrop.server.followed import followed
from outcrop.store.store import open_store

NICENESS = 5
"""Where there is no core for it, callers go before: it has a quarter of what they have, and needs
less."""


def run_bookkeeper(config: Config, ready: Connection, reread: Callable[[], Config]) -> None:
    """Returns after a stop that was asked for; exits with 1, having said why, if it cannot run."""
    os.nice(NICENESS)
    run_child(config.log_level, _keep_books(config, ready, reread))


async def _keep_books(config: Config, ready: Connection, reread: Callable[[], Config]) -> None:
    loop = asyncio.get_running_loop()
    async with (
        asyncio.TaskGroup() as tasks,
        open_store(config.database_url or config.sqlite_path, clock=utc_now) as store,
        open_deliverer(
            config.invocation_log_folder,
            config.invocation_logging,
            usage=store.usage,
            environ=os.environ,
            clock=utc_now,
        ) as delivering,
    ):
        importer = Importer(
            config.journal_folder,
            store.usage,
            config=config.metering,
            log=LogSpool(config.invocation_log_folder, config.invocation_logging.batch_s),
            clock=utc_now,
        )

        def follow() -> None:
            # What is wrong with the file, the workers say.
            with suppress(ConfigurationError, ValueError):
                importer.config = followed(config, reread()).metering

        loop.add_signal_handler(signal.SIGHUP, follow)
        stop = stop_event()
        running = [
            tasks.create_task(importer.run()),
            tasks.create_task(delivering.deliverer.run()),
        ]
        ready.send_bytes(os.getpid().to_bytes(8))
        await stop.wait()
        for task in running:
            task.cancel()
