"""SIGHUP: the configuration is read again and followed, as far as a running process can."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from outcrop.fleet.config import InvalidFleetConfigError
from outcrop.server.config import Config, ConfigurationError
from outcrop.server.followed import changed_keys
from outcrop.server.tls import ListenerTls
from outcrop.store.errors import StoreError

_log = logging.getLogger(__name__)


class Reloader:
    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config] | None,
        follow: Callable[[Config], Awaitable[None]],
        *,
        tls: ListenerTls,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`follow` makes all of the new configuration true, or raises and changes nothing."""
        self._started_with = config
        self._reread = reread
        self._follow = follow
        self._tls = tls
        self._tasks = tasks
        self._asked = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """From here on a SIGHUP is answered; several at once are answered by one reading."""
        if self._reread is None:
            return
        self._reloading = self._tasks.create_task(self._reload_when_asked(self._reread))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    def close(self) -> None:
        if self._reloading is not None:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            # Without a handler the signal would end the process, which is about to end well.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self._reloading.cancel()

    async def _reload_when_asked(self, reread: Callable[[], Config]) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload(reread)

    async def _reload(self, reread: Callable[[], Config]) -> None:
        try:
            config = reread()
            use_tls = self._tls.prepared(config)
            await self._follow(config)
            use_tls()
        except (ConfigurationError, InvalidFleetConfigError) as error:
            _log.error("SIGHUP: the configuration stays as it was: %s", error)
        except StoreError:
            _log.exception("SIGHUP: the store failed; send it again")
        except Exception:  # noqa: BLE001 - a mistake of ours ends no server that answers
            _log.exception("SIGHUP: the configuration could not be followed")
        else:
            unfollowed = sorted(changed_keys(self._started_with, config))
            if unfollowed:
                _log.warning("SIGHUP: only a restart follows: %s", ", ".join(unfollowed))
            _log.info("SIGHUP: the configuration was read again")
