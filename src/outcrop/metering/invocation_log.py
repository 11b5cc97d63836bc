"""The invocation log: which accounts want what is said kept.

It is written with the record of its usage; from there `delivery` takes it to where it is wanted.
"""

import asyncio
import logging
from collections.abc import Mapping

from msgspec import json

from outcrop.metering.invocation import Logged, ModelInvocation
from outcrop.metering.log_records import Owner, encode_owner
from outcrop.store.errors import StoreError
from outcrop.store.logging_configurations import LoggingConfigurations
from outcrop.wire.shapes.bedrock import LoggingConfig

FRESH_S = 1.0
"""So long a change by another server may take to be seen."""
_log = logging.getLogger(__name__)


class InvocationLog:
    def __init__(self, configurations: LoggingConfigurations) -> None:
        self._configurations = configurations
        self._known: Mapping[tuple[str, str], tuple[LoggingConfig, bytes]] = {}

    async def refresh(self) -> None:
        """Sees which accounts want a log. Raises StoreError."""
        rows = await self._configurations.all()
        owners = [Owner(json.decode(rows[key], type=LoggingConfig), *key) for key in rows]
        self._known = {
            (owner.account_id, owner.region): (owner.config, encode_owner(owner))
            for owner in owners
        }

    async def keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(FRESH_S)
            try:
                await self.refresh()
            except StoreError as error:
                _log.warning("changes of logging configurations are not seen: %s", error)

    def begin(self, invocation: ModelInvocation, body: bytes) -> None:
        """Has what is said kept, if the caller's account wants a log of it."""
        if self._known:
            caller = invocation.caller
            known = self._known.get((caller.account_id, caller.region))
            if known is not None:
                config, owner = known
                invocation.logged = Logged(config=config, owner=owner, input_body=body)
