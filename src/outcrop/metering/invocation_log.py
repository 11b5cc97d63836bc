"""The invocation log: what was asked and answered, on disk before the answer ends.

From there `delivery` takes it to where the account wants it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, json, msgpack

from outcrop.metering.entries import used
from outcrop.metering.invocation import Logged, ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.store.errors import StoreError
from outcrop.store.logging_configurations import LoggingConfigurations
from outcrop.store.usage_records import frame
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock import LoggingConfig
from outcrop.wire.timestamps import Clock, to_micros

FRESH_S = 1.0
"""So long a change by another server may take to be seen."""
JSON = "application/json"

_log = logging.getLogger(__name__)


class SpooledRecord(Struct, frozen=True, kw_only=True, array_like=True):
    """One record as it waits on disk. New fields come last, with a default."""

    config: LoggingConfig
    """The account's, when the call began."""
    at: int
    """When the call began, in microseconds since 1970."""
    account_id: str
    region: str
    request_id: str
    operation: str
    model_id: str | None
    principal_arn: str
    request_metadata: Mapping[str, str] | None
    inference_region: str | None
    error: str | None
    input_content_type: str
    input_body: bytes | None
    """None: not to be delivered, as the account's switches say; so is the output's."""
    output_body: bytes | None
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None


_encode = msgpack.Encoder().encode


class InvocationLog:
    def __init__(
        self, journal: Journal["Said"], configurations: LoggingConfigurations, *, clock: Clock
    ) -> None:
        self._journal = journal
        self._configurations = configurations
        self._clock = clock
        self._known: Mapping[tuple[str, str], LoggingConfig] = {}

    async def refresh(self) -> None:
        """Sees which accounts want a log. Raises StoreError."""
        rows = await self._configurations.all()
        self._known = {key: json.decode(row, type=LoggingConfig) for key, row in rows.items()}

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
            config = self._known.get((caller.account_id, caller.region))
            if config is not None:
                invocation.logged = Logged(config=config, input_body=body)
                self._journal.expect()

    def write(
        self, invocation: ModelInvocation, error: AwsError | None = None
    ) -> "asyncio.Future[None] | None":
        """To be awaited by `written`; None if it is written already, or not wanted."""
        if invocation.logged is None:
            return None
        logged, invocation.logged = invocation.logged, None
        return self._journal.append(Said(invocation, logged, error))

    async def written(self, writing: "asyncio.Future[None] | None") -> None:
        """Returns when it is on disk, or cannot be, which the log says: no call fails for it."""
        try:
            if writing is not None:
                await writing
        except JournalError as failure:
            _log.error("an invocation is not logged: %s", failure)

    def write_cut_off(self, invocation: ModelInvocation) -> None:
        """Of a client that left: there is nobody to wait for."""
        if invocation.logged is not None:
            logged, invocation.logged = invocation.logged, None
            self._journal.append_unawaited(Said(invocation, logged, None))


class Said(NamedTuple):
    """What a record is made of, when it is written."""

    invocation: ModelInvocation
    logged: Logged
    error: AwsError | None


def spooled(entries: Sequence[Said]) -> bytes:
    """A frame for each."""
    return b"".join([_spooled(*entry) for entry in entries])


def delivered(switch: bool | None) -> bool:  # noqa: FBT001
    """What a configuration does not say is delivered."""
    return switch is not False


def _spooled(invocation: ModelInvocation, logged: Logged, error: AwsError | None) -> bytes:
    caller, config = invocation.caller, logged.config
    tokens, _ = used(invocation)
    texts = delivered(config.text_data_delivery_enabled)
    embeddings = delivered(config.embedding_data_delivery_enabled)
    wants_output = embeddings if invocation.embeds else texts
    record = SpooledRecord(
        config=config,
        at=to_micros(invocation.began_at),
        account_id=caller.account_id,
        region=caller.region,
        request_id=invocation.request_id,
        operation=invocation.operation,
        model_id=invocation.model_id,
        principal_arn=caller.arn,
        request_metadata=invocation.request_metadata,
        inference_region=invocation.inference_region,
        error=error.name if error else None,
        input_content_type=invocation.headers.get("content-type") or JSON,
        input_body=logged.input_body if texts else None,
        output_body=_output(invocation, logged) if wants_output else None,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cache_read_input_tokens=tokens[2] or None,
        cache_write_input_tokens=tokens[3] or None,
    )
    return frame(_encode(record))


def _output(invocation: ModelInvocation, logged: Logged) -> bytes | None:
    if invocation.streamed and logged.events:
        return b"[" + b",".join(logged.events) + b"]"
    return logged.output_body
