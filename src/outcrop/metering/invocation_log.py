"""The invocation log: which accounts want what is said kept.

It is written with the record of its usage; from there `delivery` takes it to where it is wanted.
"""

import asyncio
import logging
from collections.abc import Mapping

from msgspec import json

from outcrop.metering.invocation import Logged, ModelInvocation, Wanted
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
        self._known: Mapping[tuple[str, str], Wanted] = {}

    async def refresh(self) -> None:
        """Sees which accounts want a log. Raises StoreError."""
        rows = await self._configurations.all()
        owners = [Owner(json.decode(rows[key], type=LoggingConfig), *key) for key in rows]
        self._known = {(owner.account_id, owner.region): _wanted(owner) for owner in owners}

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
            wanted = self._known.get((caller.account_id, caller.region))
            if wanted is not None:
                invocation.logged = Logged(wanted, body)


def _wanted(owner: Owner) -> Wanted:
    config = owner.config
    return Wanted(
        owner=encode_owner(owner),
        texts=config.text_data_delivery_enabled is not False,
        embeddings=config.embedding_data_delivery_enabled is not False,
    )
