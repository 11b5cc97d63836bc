"""Invocations that have ended, as they are written: what many have in common is made once.

A usage record, and where the account wants a log of it what was said, from which its lines are
made when they are delivered.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from msgspec import structs

from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.log_records import JSON, SaidRow, said_frame
from outcrop.metering.prices import FREE, PriceList, Rates
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    Row,
    UsageRecord,
    batch,
    encode_circumstances,
    frame,
)
from outcrop.wire.timestamps import Clock, to_micros

Used: TypeAlias = tuple[int, int, int, int, bool]
"""Tokens: input, output, read from a cache, written to one; and whether they are an estimate."""

_Shared: TypeAlias = tuple[bytes, bytes | None]
"""Circumstances, encoded, and the owner of the log; None without one."""

_DAY_US, _SECOND_US = 86_400_000_000, 1_000_000
_REMEMBERED = 4_096


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
        self._known: dict[tuple[object, ...], _Shared] = {}

    def packed(self, ended: Sequence[ModelInvocation]) -> bytes:
        """Frames for each of their circumstances; they end now, as the next thing is to write."""
        now = self._clock()
        frames: list[bytes] = []
        for (shared, owner), alike in self._alike(ended).items():
            calls = batch(shared, _rows(alike, now))
            if self.meters:
                frames.append(frame(calls))
            if owner is not None:
                self.said = True
                frames.append(said_frame(owner, b"" if self.meters else calls, _said(alike)))
        return b"".join(frames)

    def record(self, invocation: ModelInvocation) -> UsageRecord:
        (row,) = _rows([invocation], self._clock())
        shared = _circumstances(invocation, self.prices)
        return UsageRecord(**structs.asdict(shared), **Call(*row)._asdict())

    def _alike(
        self, ended: Sequence[ModelInvocation]
    ) -> Mapping[_Shared, Sequence[ModelInvocation]]:
        """Those that share a frame, and what they have in common there."""
        prices = self.prices
        batches: dict[_Shared, list[ModelInvocation]] = {}
        alike: list[ModelInvocation] = []
        last: tuple[object, ...] = ()
        for invocation in ended:
            logged = invocation.logged
            # All that `_circumstances` looks at, and who wants a log.
            key = (
                invocation.caller,
                invocation.model_id,
                invocation.end,
                None if logged is None else logged.wanted,
                invocation.operation,
                invocation.inference_region,
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
            # Most are as the one before: to compare them takes a third of what it takes to hash.
            if key != last:
                last = key
                alike = batches.setdefault(self._shared(invocation, prices, key), [])
            alike.append(invocation)
        return batches

    def _shared(
        self, invocation: ModelInvocation, prices: PriceList, key: tuple[object, ...]
    ) -> _Shared:
        shared = self._known.get((prices, key))
        if shared is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            logged = invocation.logged
            owner = None if logged is None else logged.wanted.owner
            shared = encode_circumstances(_circumstances(invocation, prices)), owner
            self._known[prices, key] = shared
        return shared


def _rows(ended: Sequence[ModelInvocation], now: datetime) -> Sequence[Row]:
    """Of those that end now: times are counted back from there, in a third of the time."""
    now_us = to_micros(now)
    rows: list[Row] = []
    for invocation in ended:
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
        rows.append(
            (
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
        )
    return rows


def _said(ended: Sequence[ModelInvocation]) -> Sequence[SaidRow]:
    """As far as it is to be delivered."""
    said: list[SaidRow] = []
    for invocation in ended:
        logged = invocation.logged
        if logged is None:
            continue
        wanted, answered = logged.wanted, logged.output_body
        if invocation.streamed and logged.events:
            answered = b"[" + b",".join(logged.events) + b"]"
        said.append(
            (
                invocation.headers.get("content-type") or JSON,
                logged.input_body if wanted.texts else None,
                answered if (wanted.embeddings if invocation.embeds else wanted.texts) else None,
            )
        )
    return said


def _estimated(invocation: ModelInvocation) -> Used:
    """Of one that broke off before its model server counted."""
    if invocation.estimate is None:
        return 0, 0, 0, 0, False
    usage = invocation.estimate()
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return usage.input_tokens, usage.output_tokens, read, written, True


def _circumstances(invocation: ModelInvocation, prices: PriceList) -> Circumstances:
    caller, end = invocation.caller, invocation.end
    if end is None:
        raise ValueError(f"{invocation.request_id} has not ended")
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
