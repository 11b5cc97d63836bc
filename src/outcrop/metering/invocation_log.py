"""The invocation log: what was asked and answered, on disk before the answer ends.

From there `delivery` takes it to where the account wants it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import json, msgpack

from outcrop.iam.caller import Caller
from outcrop.metering.entries import used
from outcrop.metering.forms import BLANK, BLANK_NUMBER, BLANK_TEXT, Seconds, form
from outcrop.metering.invocation import Logged, ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.metering.log_records import (
    INLINE_BYTES,
    JSON,
    Body,
    Owner,
    SpooledLines,
    SpooledRecord,
    log_record,
    may_have_media,
    one_line,
)
from outcrop.store.errors import StoreError
from outcrop.store.logging_configurations import LoggingConfigurations
from outcrop.store.usage_records import frame
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock import LoggingConfig
from outcrop.wire.timestamps import Clock, to_micros

FRESH_S = 1.0
"""So long a change by another server may take to be seen."""

_OF_HOUR = len("2026-11-22T10")
"""So much of a time says its hour."""
_log = logging.getLogger(__name__)


_encode = msgpack.Encoder().encode


class InvocationLog:
    def __init__(
        self, journal: Journal["Said"], configurations: LoggingConfigurations, *, clock: Clock
    ) -> None:
        self._journal = journal
        self._configurations = configurations
        self._clock = clock
        self._known: Mapping[tuple[str, str], tuple[LoggingConfig, bytes]] = {}

    async def refresh(self) -> None:
        """Sees which accounts want a log. Raises StoreError."""
        rows = await self._configurations.all()
        owners = [Owner(json.decode(rows[key], type=LoggingConfig), *key) for key in rows]
        self._known = {
            (owner.account_id, owner.region): (owner.config, _encode(owner)) for owner in owners
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


class Spool:
    """What is written of invocations: as the lines that will be delivered, wherever it can be."""

    def __init__(self) -> None:
        self._seconds = Seconds()

    def packed(self, entries: Sequence[Said]) -> bytes:
        """A frame for all lines of one owner and hour; one for each of the others."""
        frames: list[bytes] = []
        together: dict[tuple[bytes, bytes], list[bytes]] = {}
        for said in entries:
            bodies = _wanted(said)
            inline = _inline(*bodies)
            if inline is None:
                frames.append(frame(_encode(_spooled(said, *bodies))))
            else:
                at = self._seconds.text(said.invocation.began_at)
                lines = together.setdefault((said.logged.owner, at[:_OF_HOUR]), [])
                lines.append(self._line(said, at, *inline))
        for (owner, hour), lines in together.items():
            frames.append(frame(_encode(SpooledLines(owner, hour.decode(), b"".join(lines)))))
        return b"".join(frames)

    def _line(self, said: Said, at: bytes, asked: bytes | None, answered: bytes | None) -> bytes:
        invocation, error = said.invocation, said.error
        tokens_in, tokens_out, read, written, _ = used(invocation)
        metadata = invocation.request_metadata
        form = _form(
            invocation.caller,
            invocation.operation,
            invocation.model_id,
            invocation.inference_region,
            None if error is None else error.name,
            invocation.headers.get("content-type") or JSON,
            (asked is None, answered is None, metadata is None, read == 0, written == 0),
        )
        values: list[bytes | int] = [at, invocation.request_id.encode()]
        if asked is not None:
            values.append(asked)
        if asked is not None or error is None:
            values.append(tokens_in)
            values += filter(None, (read, written))
        if answered is not None:
            values.append(answered)
        if answered is not None or error is None:
            values.append(tokens_out)
        if metadata is not None:
            values.append(json.encode(metadata))
        return form % tuple(values)


@lru_cache(maxsize=1_024)
def _form(  # noqa: PLR0913, PLR0917 - what many lines have in common
    caller: Caller,
    operation: str,
    model_id: str | None,
    inference_region: str | None,
    error: str | None,
    content_type: str,
    missing: tuple[bool, ...],
) -> bytes:
    """`missing`: whether bodies, metadata, and counts of what was cached are."""
    no_input, no_output, no_metadata, none_read, none_written = missing
    record = SpooledRecord(
        config=LoggingConfig(),
        at=0,
        account_id=caller.account_id,
        region=caller.region,
        request_id=BLANK_TEXT,
        operation=operation,
        model_id=model_id,
        principal_arn=caller.arn,
        request_metadata=None if no_metadata else BLANK,
        inference_region=inference_region,
        error=error,
        input_content_type=content_type,
        input_body=None if no_input else BLANK,
        output_body=None if no_output else BLANK,
        input_tokens=BLANK_NUMBER,
        output_tokens=BLANK_NUMBER,
        cache_read_input_tokens=None if none_read else BLANK_NUMBER,
        cache_write_input_tokens=None if none_written else BLANK_NUMBER,
    )
    bodies = Body(None if no_input else BLANK), Body(None if no_output else BLANK)
    return form(log_record(record, BLANK_TEXT, *bodies))


def _wanted(said: Said) -> tuple[bytes | None, bytes | None]:
    """What was asked, and answered, as far as it is to be delivered."""
    invocation, logged = said.invocation, said.logged
    config = logged.config
    wants_input = wants_output = config.text_data_delivery_enabled is not False
    if invocation.embeds:
        wants_output = config.embedding_data_delivery_enabled is not False
    answered = logged.output_body
    if invocation.streamed and logged.events:
        answered = b"[" + b",".join(logged.events) + b"]"
    return logged.input_body if wants_input else None, answered if wants_output else None


def _inline(
    asked: bytes | None, answered: bytes | None
) -> tuple[bytes | None, bytes | None] | None:
    """Bodies as they stand in a line; None: they are long, or may have to be taken apart."""
    both = (asked or b"") + (answered or b"")
    if len(both) > INLINE_BYTES or may_have_media(both):
        return None
    # The answer is ours, and has no white space but in what it says.
    if answered is not None and answered.find(b"\n") >= 0:
        return None
    asked = None if asked is None else one_line(asked)
    return None if asked and len(asked) > INLINE_BYTES else (asked, answered)


def _spooled(said: Said, asked: bytes | None, answered: bytes | None) -> SpooledRecord:
    invocation, logged, error = said
    caller = invocation.caller
    tokens_in, tokens_out, read, written, _ = used(invocation)
    return SpooledRecord(
        config=logged.config,
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
        input_body=asked,
        output_body=answered,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cache_read_input_tokens=read or None,
        cache_write_input_tokens=written or None,
    )
