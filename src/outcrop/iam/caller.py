"""Who calls: what authentication finds out, as STS GetCallerIdentity would say it."""

from datetime import datetime

from msgspec import Struct

from outcrop.wire.arn import Arn


class Caller(Struct, frozen=True, kw_only=True, cache_hash=True):
    account_id: str
    """Twelve digits."""
    arn: str
    user_id: str
    region: str
    """The Region of the request: the one in its credential scope."""
    partition: str
    issued_at: datetime | None = None
    """When STS gave its credentials; None of those that last."""
    role_arn: str | None = None
    """Of the role whose session it is."""
    audience: str | None = None
    """For whom an identity token is that alone says who asks: `arn` is its issuer's."""
    transitive_tags: tuple[tuple[str, str], ...] = ()
    """Those of the session that go on to a role assumed from it."""
    shared_arn: str | None = None
    """What of another account's the request names, if the policy at it names the caller."""

    @property
    def is_temporary(self) -> bool:
        """Whether its credentials came from STS."""
        return self.issued_at is not None

    @property
    def is_root(self) -> bool:
        """Whether it is an account's root user."""
        return self.arn.endswith(":root")

    def owner_of(self, identifier: str) -> str:
        """Whose a resource has to be: the caller's account's, or that which shares it."""
        if self.shared_arn is None or identifier != self.shared_arn:
            return self.account_id
        return Arn.parse(identifier).account_id
