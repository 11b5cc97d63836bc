"""Who calls: what authentication finds out, as STS GetCallerIdentity would say it."""

from msgspec import Struct


class Caller(Struct, frozen=True, kw_only=True):
    account_id: str
    """Twelve digits."""
    arn: str
    user_id: str
    region: str
    """The Region of the request: the one in its credential scope."""
    partition: str
