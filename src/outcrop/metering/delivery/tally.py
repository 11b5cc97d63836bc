"""How deliveries went, as CloudWatch is asked: counted by the minute, kept in the store."""

import logging
from collections import Counter

from outcrop.metering.delivery.records import Delivered
from outcrop.store.errors import StoreError
from outcrop.store.usage import Usage
from outcrop.store.usage_rollup import DeliveryCounts
from outcrop.wire.timestamps import Clock, to_micros

_MINUTE_US = 60_000_000

_log = logging.getLogger(__name__)


class Tally:
    """Every attempt counts. What was not stored when a server is killed is not counted."""

    def __init__(self, usage: Usage, *, clock: Clock) -> None:
        self._usage = usage
        self._clock = clock
        self._counts: DeliveryCounts = {}

    def note(self, one: Delivered, *, arrived: bool) -> None:
        at = to_micros(self._clock()) // _MINUTE_US * 60
        counts = self._counts.setdefault((one.account_id, one.region, at), Counter())
        counts[_metric(one, arrived=arrived)] += 1

    async def store(self) -> None:
        """What a store that is out of reach does not take now it is given the next time."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            await self._usage.count_deliveries(counts)
        except StoreError as error:
            for key, kept in counts.items():
                self._counts.setdefault(key, Counter()).update(kept)
            _log.warning("deliveries of invocation logs are counted later: %s", error)


def _metric(one: Delivered, *, arrived: bool) -> str:
    """Amazon Bedrock User Guide, "Monitor model invocation": the logging metrics."""
    if one.large:
        what = "LargeDataS3"
    else:
        what = "LogsS3" if one.place.kind == "bucket" else "LogsCloudWatch"
    return f"ModelInvocation{what}Delivery{'Success' if arrived else 'Failure'}"
