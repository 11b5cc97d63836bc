"""Whether a call may go ahead, and before whom: model units held, quotas kept, a rank in the queue.

What is held is an estimate; when the answer is over it becomes what was really used.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from outcrop.counters.limit import Counters, Grant, Refused
from outcrop.fleet.fleet import ANYWHERE
from outcrop.fleet.slots import Standing
from outcrop.fleet.units import Units
from outcrop.fleet.waiting_room import Rank
from outcrop.metering.budgets import Budgets
from outcrop.metering.config import AdmissionConfig, Way
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.quotas import Quota, Quotas, Tokens, unit_quotas
from outcrop.runtime.target import Target

SPILLOVER = "x-outcrop-spillover"
"""A request's header, `on` or `off`: what becomes of it when its model units are used up."""

_STANDING: Mapping[str | None, Standing] = {
    "priority": Standing.PRIORITY,
    "default": Standing.DEFAULT,
    None: Standing.DEFAULT,
    "flex": Standing.FLEX,
}
_NOTHING = Tokens(0, 0)


class Admitted(Struct, frozen=True):
    """A call that may go ahead, and what is held for it."""

    rank: Rank
    counters: Counters
    invocation: ModelInvocation
    quotas: Sequence[Quota] = ()
    grant: Grant | None = None

    def settle(self) -> None:
        """The call is over: what it did not use may be used by others."""
        if self.grant is None:
            return
        used = _used(self.invocation)
        self.counters.settle(
            self.grant, {quota.limit.key: quota.taken(used) for quota in self.quotas}
        )


class Admission:
    def __init__(
        self,
        counters: Counters,
        quotas: Quotas,
        units: Units,
        terms: AdmissionConfig,
        *,
        budgets: Budgets | None = None,
    ) -> None:
        self._counters = counters
        self._quotas = quotas
        self._units = units
        self._terms = terms
        self._budgets = budgets

    async def admit(
        self, invocation: ModelInvocation, target: Target, *, tokens_in: int, tokens_out: int | None
    ) -> Admitted:
        """Raises ThrottlingException or, for too many calls at once, ServiceUnavailableException.

        AccessDeniedException when a budget is spent, ThrottlingException while the rest of it is
        held for other calls; what model units pay for spends nothing.

        `tokens_in` is an estimate; `tokens_out` the most that may be answered, None if nobody said.
        Whoever gets the answer settles it.
        """
        most = self._terms.assumed_max_tokens if tokens_out is None else tokens_out
        tokens = Tokens(tokens_in, most)
        bought = self._bought(invocation, target)
        if bought is not None:
            invocation.bought = bought
            granted = await self._hold(bought, tokens) if bought else None
            if not isinstance(granted, Refused):
                return self._admitted(invocation, Standing.PROVISIONED, bought, granted)
            if not self._spills_over(invocation):
                raise _refusal(bought, granted)
            invocation.spilled_over = True
        if self._budgets is not None:
            await self._hold_budgets(self._budgets, invocation, tokens)
        quotas = self._on_demand(invocation, target)
        granted = await self._hold(quotas, tokens) if quotas else None
        if granted is not None and isinstance(granted, Refused):
            raise _refusal(quotas, granted)
        standing = _STANDING[invocation.service_tier]
        invocation.resolved_service_tier = invocation.service_tier or "default"
        return self._admitted(invocation, standing, quotas, granted)

    async def _hold_budgets(
        self, budgets: Budgets, invocation: ModelInvocation, tokens: Tokens
    ) -> None:
        quotas = budgets.require(invocation, tokens)
        if not quotas:
            return
        granted = await self._hold(quotas, tokens)
        if isinstance(granted, Refused):
            raise _refusal(quotas, granted)
        invocation.held = partial(self._counters.settle, granted, {})

    def _hold(self, quotas: Sequence[Quota], tokens: Tokens) -> Awaitable[Grant | Refused]:
        return self._counters.hold([quota.hold(tokens) for quota in quotas])

    def _bought(self, invocation: ModelInvocation, target: Target) -> Sequence[Quota] | None:
        """None for a call that has no model units; empty where units are not limited."""
        if target.provisioned_model_arn is None:
            return None
        unit = self._units.unit_of(target.foundation_model.model_id, invocation.caller.region)
        if unit is None:
            return ()
        into = target.model_units * unit.input_tokens_per_minute
        out_of = target.model_units * unit.output_tokens_per_minute
        invocation.units_per_minute = into, out_of
        return unit_quotas(
            target.provisioned_model_arn, input_per_minute=into, output_per_minute=out_of
        )

    def _on_demand(self, invocation: ModelInvocation, target: Target) -> Sequence[Quota]:
        caller, model_id = invocation.caller, target.foundation_model.model_id
        return self._quotas.of(caller.account_id, caller.region, model_id, _way(target))

    def _spills_over(self, invocation: ModelInvocation) -> bool:
        asked = invocation.headers.get(SPILLOVER, "").lower()
        return asked == "on" or (self._terms.spillover and asked != "off")

    def _admitted(
        self,
        invocation: ModelInvocation,
        standing: Standing,
        quotas: Sequence[Quota],
        grant: Grant | None,
    ) -> Admitted:
        account_id = invocation.caller.account_id
        rank = Rank(
            standing=standing,
            account_id=account_id,
            weight=self._terms.weights.get(account_id, 1.0),
            deadline=asyncio.get_running_loop().time() + self._terms.queue_deadline_s,
        )
        return Admitted(rank, self._counters, invocation, quotas, grant)


def _way(target: Target) -> Way:
    if target.inference_profile_arn is None:
        return "on_demand"
    if ANYWHERE in target.regions:
        return "global"
    return "cross_region" if len(target.regions) > 1 else "on_demand"


def _refusal(quotas: Sequence[Quota], refused: Refused) -> Exception:
    quota = next(quota for quota in quotas if quota.limit.key == refused.limit.key)
    return quota.refusal(quota.text, retry_after_s=refused.retry_after_s)


def _used(invocation: ModelInvocation) -> Tokens:
    usage = invocation.usage
    if usage is None and invocation.estimate is not None:
        usage = invocation.estimate()
    if usage is None:
        return _NOTHING
    # What was read from a cache does not count.
    return Tokens(usage.input_tokens + (usage.cache_write_input_tokens or 0), usage.output_tokens)
