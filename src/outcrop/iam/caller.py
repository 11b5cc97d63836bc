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
    is_temporary: bool = False
    """Whether its credentials came from STS."""
    transitive_tags: tuple[tuple[str, str], ...] = ()
    """Those of the session that go on to a role assumed from it."""
