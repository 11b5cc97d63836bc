"""Invocations that have ended, as they are written: what many have in common is made once.

A usage record, and where the account wants a log of it what was said, from which its lines are
made when they are delivered.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from msgspec import structs

from outcrop.metering.audit import Ended
from outcrop.metering.invocation import Logged, ModelInvocation
from outcrop.metering.log_records import JSON, SaidRow, said_frame
from outcrop.metering.prices import FREE, PriceList, Rates
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    Outcome,
    Row,
    UsageRecord,
    batch,
    encode_circumstances,
    frame,
)
from outcrop.wire.timestamps import Clock, to_micros

Used: TypeAlias = tuple[int, int, int, int, bool]
"""Tokens: input, output, read from a cache, written to one; and whether they are an estimate."""

_DAY_US, _SECOND_US = 86_400_000_000, 1_000_000
_REMEMBERED = 4_096


class End(NamedTuple):
    outcome: Outcome
    status: int
    error: str | None


SUCCESS = End("success", 200, None)


class Entry(Ended, frozen=True, gc=False):
    """What a record is made of, when it is written."""

    end: End
    logged: Logged | None
    """What was said, where its account wants a log of it."""


class Entries:
    """Makes frames of entries, at the prices and the time of the moment."""

    def __init__(self, prices: PriceList, *, clock: Clock, meters: bool = True) -> None:
        """Without `meters`, nothing but what was said is written, for the log."""
        self.prices = prices
        """Others from here on, when they are replaced."""
        self.meters = meters
        self.said = False
        """Whether something was said in what was packed, until somebody says that it is gone."""
        self._clock = clock
        self._known: dict[tuple[object, ...], bytes] = {}

    def packed(self, entries: Sequence[Entry]) -> bytes:
        """Frames for each of their circumstances; they end now, as the next thing is to write."""
        now = self._clock()
        now_us = to_micros(now)
        batches: dict[tuple[bytes, bytes | None], tuple[list[Row], list[SaidRow]]] = {}
        for entry in entries:
            logged = entry.logged
            key = self._encoded(entry), None if logged is None else logged.wanted.owner
            known = batches.get(key)
            rows, said = known if known is not None else batches.setdefault(key, ([], []))
            rows.append(_row(entry.invocation, now, now_us))
            if logged is not None:
                said.append(_said(entry.invocation, logged))
        frames: list[bytes] = []
        for (shared, owner), (rows, said) in batches.items():
            calls = batch(shared, rows)
            if self.meters:
                frames.append(frame(calls))
            if owner is not None:
                self.said = True
                frames.append(said_frame(owner, b"" if self.meters else calls, said))
        return b"".join(frames)

    def record(self, entry: Entry) -> UsageRecord:
        now = self._clock()
        call = Call(*_row(entry.invocation, now, to_micros(now)))
        shared = _circumstances(entry, self.prices)
        return UsageRecord(**structs.asdict(shared), **call._asdict())

    def _encoded(self, entry: Entry) -> bytes:
        invocation = entry.invocation
        # All that `_circumstances` looks at.
        key = (
            self.prices,
            entry.end,
            invocation.caller,
            invocation.operation,
            invocation.inference_region,
            invocation.model_id,
            invocation.foundation_model_id,
            invocation.inference_profile_arn,
            invocation.provisioned_model_arn,
            invocation.profile_id,
            invocation.tags,
            invocation.streamed,
            invocation.service_tier,
            invocation.resolved_service_tier,
            invocation.spilled_over,
            invocation.units_per_minute,
        )
        encoded = self._known.get(key)
        if encoded is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            encoded = encode_circumstances(_circumstances(entry, self.prices))
            self._known[key] = encoded
        return encoded


def _row(invocation: ModelInvocation, now: datetime, now_us: int) -> Row:
    """Of one that ends now: times are counted back from there, which takes a third of the time."""
    usage, first_event_at = invocation.usage, invocation.first_event_at
    lasted = now - invocation.began_at
    duration_us = lasted.seconds * _SECOND_US + lasted.microseconds
    if lasted.days:  # or the clock was set back
        duration_us += lasted.days * _DAY_US
    first_event_us = None
    if first_event_at is not None:
        since = now - first_event_at
        first_event_us = duration_us - since.seconds * _SECOND_US - since.microseconds
        if since.days:
            first_event_us -= since.days * _DAY_US
        if first_event_us < 0:  # noqa: PLR1730 - as below; of a clock that was set back
            first_event_us = 0
    if usage is None:
        tokens_in, tokens_out, read, written, estimated = _estimated(invocation)
    else:
        tokens_in, tokens_out, estimated = usage.input_tokens, usage.output_tokens, False
        read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return (
        invocation.request_id,
        now_us - duration_us,
        first_event_us,
        duration_us if duration_us > 0 else 0,  # noqa: FURB136 - a call of max is dear
        tokens_in,
        tokens_out,
        read,
        written,
        estimated,
        invocation.request_metadata,
    )


def _said(invocation: ModelInvocation, logged: Logged) -> SaidRow:
    """As far as it is to be delivered."""
    wanted, answered = logged.wanted, logged.output_body
    if invocation.streamed and logged.events:
        answered = b"[" + b",".join(logged.events) + b"]"
    return (
        invocation.headers.get("content-type") or JSON,
        logged.input_body if wanted.texts else None,
        answered if (wanted.embeddings if invocation.embeds else wanted.texts) else None,
    )


def _estimated(invocation: ModelInvocation) -> Used:
    """Of one that broke off before its model server counted."""
    if invocation.estimate is None:
        return 0, 0, 0, 0, False
    usage = invocation.estimate()
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return usage.input_tokens, usage.output_tokens, read, written, True


def _circumstances(entry: Entry, prices: PriceList) -> Circumstances:
    invocation, end = entry.invocation, entry.end
    caller = invocation.caller
    return Circumstances(
        operation=invocation.operation,
        account_id=caller.account_id,
        principal_arn=caller.arn,
        region=caller.region,
        inference_region=invocation.inference_region,
        model_id=invocation.model_id,
        foundation_model_id=invocation.foundation_model_id,
        inference_profile_arn=invocation.inference_profile_arn,
        provisioned_model_arn=invocation.provisioned_model_arn,
        tags=invocation.tags,
        streamed=invocation.streamed,
        outcome=end.outcome,
        status=end.status,
        error=end.error,
        service_tier=invocation.service_tier,
        resolved_service_tier=invocation.resolved_service_tier,
        rates=_rates(invocation, prices),
        spilled_over=invocation.spilled_over,
        units_per_minute=invocation.units_per_minute,
    )


def _rates(invocation: ModelInvocation, prices: PriceList) -> Rates | None:
    if invocation.provisioned_model_arn is not None and not invocation.spilled_over:
        return FREE  # its hours are paid for
    if invocation.foundation_model_id is None:
        return None
    return prices.rates(
        invocation.caller.region,
        invocation.profile_id,
        invocation.foundation_model_id,
        invocation.resolved_service_tier or invocation.service_tier,
    )
