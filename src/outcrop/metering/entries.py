"""An invocation that has ended, as a usage record: what many have in common is made once."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from msgspec import Struct, structs

from outcrop.metering.forms import Seconds
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.prices import FREE, PriceList, Rates
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    Outcome,
    Row,
    UsageRecord,
    batch_frame,
    encode_circumstances,
)

Used: TypeAlias = tuple[int, int, int, int, bool]
"""Tokens: input, output, read from a cache, written to one; and whether they are an estimate."""

_MICROSECOND = timedelta(microseconds=1)
_REMEMBERED = 4_096


class End(NamedTuple):
    outcome: Outcome
    status: int
    error: str | None


SUCCESS = End("success", 200, None)


class Entry(Struct, frozen=True):
    """What a record is made of, when it is written."""

    invocation: ModelInvocation
    end: End
    ended_at: datetime


class Entries:
    """Makes frames of entries, at the prices of the moment."""

    def __init__(self, prices: PriceList) -> None:
        self.prices = prices
        """Others from here on, when they are replaced."""
        self._known: dict[tuple[object, ...], bytes] = {}
        self._seconds = Seconds()

    def packed(self, entries: Sequence[Entry]) -> bytes:
        """A frame for each of their circumstances."""
        batches: dict[bytes, list[Row]] = {}
        for entry in entries:
            batches.setdefault(self._encoded(entry), []).append(self._row(entry))
        return b"".join([batch_frame(shared, rows) for shared, rows in batches.items()])

    def record(self, entry: Entry) -> UsageRecord:
        shared, call = _circumstances(entry, self.prices), Call(*self._row(entry))
        return UsageRecord(**structs.asdict(shared), **call._asdict())

    def _row(self, entry: Entry) -> Row:
        invocation = entry.invocation
        began_at, first_event_at = invocation.began_at, invocation.first_event_at
        tokens_in, tokens_out, read, written, estimated = used(invocation)
        duration_us = (entry.ended_at - began_at) // _MICROSECOND
        first_event_us = None
        if first_event_at is not None:
            first_event_us = (first_event_at - began_at) // _MICROSECOND
            if first_event_us < 0:  # noqa: PLR1730 - as below; of a clock that was set back
                first_event_us = 0
        return (
            invocation.request_id,
            self._seconds.micros(began_at),
            first_event_us,
            duration_us if duration_us > 0 else 0,  # noqa: FURB136 - a call of max is dear
            tokens_in,
            tokens_out,
            read,
            written,
            estimated,
            invocation.request_metadata,
        )

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


def used(invocation: ModelInvocation) -> Used:
    usage, estimated = invocation.usage, False
    if usage is None and invocation.estimate is not None:
        usage, estimated = invocation.estimate(), True
    if usage is None:
        return 0, 0, 0, 0, False
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return usage.input_tokens, usage.output_tokens, read, written, estimated


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
