"""What may be used within a span of time: an account's quotas, a provisioned model's units.

Amazon User Guide, "Quotas for Amazon Bedrock" and "Token burndown rate"; the texts are Amazon's.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from msgspec import Struct

from outcrop.counters.limit import Hold, Limit
from outcrop.metering.config import QuotaConfig, Way
from outcrop.store.burndown import burndown_rate
from outcrop.wire.errors import AwsError, ServiceUnavailableException, ThrottlingException

MINUTE_S, DAY_S = 60, 86_400
HELD = 0
"""The span of what counts for as long as the call lasts."""


class Tokens(Struct, frozen=True):
    """Of one call: expected, or used."""

    input: int
    output: int


class Quota(Struct, frozen=True, kw_only=True):
    """A limit, what a call takes of it, and what is said when that is too much."""

    limit: Limit
    per_call: int = 0
    per_input: int = 0
    per_output: int = 0
    refusal: type[AwsError] = ThrottlingException
    text: str

    def taken(self, tokens: Tokens) -> int:
        return self.per_call + self.per_input * tokens.input + self.per_output * tokens.output

    def hold(self, tokens: Tokens) -> Hold:
        return Hold(self.limit, self.taken(tokens))


class Quotas:
    """The operator's rules, by whom and what they are asked about."""

    def __init__(self, rules: Sequence[QuotaConfig]) -> None:
        self._rules = rules
        self.of = lru_cache(maxsize=16_384)(self._of)
        """`of(account_id, region, model_id, way)`: the quotas of one such call; often none."""

    def _of(self, account_id: str, region: str, model_id: str, way: Way) -> tuple[Quota, ...]:
        for rule in self._rules:
            if rule.applies_to(account_id, region, model_id, way):
                key = f"{way}/{account_id}/{region}/{model_id}"
                return tuple(_quotas(rule, key, burndown_rate(model_id)))
        return ()


def unit_quotas(
    provisioned_model_arn: str, *, input_per_minute: int, output_per_minute: int
) -> tuple[Quota, ...]:
    """What the model units of a provisioned model give it."""
    key = f"provisioned/{provisioned_model_arn}"
    return (
        Quota(
            limit=Limit(key=f"{key}/input", most=input_per_minute, span_s=MINUTE_S),
            per_input=1,
            text=_TOO_MANY_TOKENS,
        ),
        Quota(
            limit=Limit(key=f"{key}/output", most=output_per_minute, span_s=MINUTE_S),
            per_output=1,
            text=_TOO_MANY_TOKENS,
        ),
    )


_TOO_MANY_TOKENS = "Too many tokens, please wait before trying again."


def _quotas(rule: QuotaConfig, key: str, burndown: int) -> Iterator[Quota]:
    if rule.tokens_per_minute is not None:
        yield Quota(
            limit=Limit(key=f"{key}/minute", most=rule.tokens_per_minute, span_s=MINUTE_S),
            per_input=1,
            per_output=burndown,
            text=_TOO_MANY_TOKENS,
        )
    if rule.tokens_per_day is not None:
        yield Quota(
            limit=Limit(key=f"{key}/day", most=rule.tokens_per_day, span_s=DAY_S),
            per_input=1,
            per_output=burndown,
            text="Too many tokens per day, please wait before trying again.",
        )
    if rule.requests_per_minute is not None:
        yield Quota(
            limit=Limit(key=f"{key}/requests", most=rule.requests_per_minute, span_s=MINUTE_S),
            per_call=1,
            text="Too many requests, please wait before trying again.",
        )
    if rule.concurrent_requests is not None:
        yield Quota(
            limit=Limit(key=f"{key}/concurrent", most=rule.concurrent_requests, span_s=HELD),
            per_call=1,
            refusal=ServiceUnavailableException,
            text="Too many connections, please wait before trying again.",
        )
