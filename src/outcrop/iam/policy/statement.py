"""One statement of a policy, ready to be asked whether it applies."""

import itertools
from typing import Literal, TypeAlias

from msgspec import Struct

from outcrop.iam.policy.conditions import Condition
from outcrop.iam.policy.patterns import Context, Template, Test, arn_test, filled_in, keys_of
from outcrop.iam.policy.principal import Principals

Effect: TypeAlias = Literal["Allow", "Deny"]


class Actions(Struct, frozen=True, kw_only=True):
    """An `Action` element, or a `NotAction`."""

    tests: tuple[Test, ...]
    excluded: bool

    def cover(self, action: str) -> bool:
        return any(test(action) for test in self.tests) != self.excluded


class Resources(Struct, frozen=True, kw_only=True):
    """A `Resource` element, or a `NotResource`."""

    fixed: tuple[Test, ...]
    open: tuple[Template, ...]
    """Those with variables."""
    excluded: bool

    def cover(self, resource: str) -> bool | None:
        """Whether they do; None when that depends on the request's variables."""
        if any(test(resource) for test in self.fixed):
            return not self.excluded
        return None if self.open else self.excluded

    @property
    def keys(self) -> frozenset[str]:
        """All of the context that they look at."""
        return frozenset(itertools.chain(*map(keys_of, self.open)))

    def cover_in(self, resource: str, context: Context) -> bool:
        """Whether they do in one request, where `cover` leaves it open."""
        filled = (filled_in(pattern, context) for pattern in self.open)
        named = any(arn_test(pattern)(resource) for pattern in filled if pattern is not None)
        return named != self.excluded


class Statement(Struct, frozen=True, kw_only=True):
    label: str
    """The Sid, or the place: `Statement[2]`."""
    effect: Effect
    actions: Actions
    resources: Resources
    conditions: tuple[Condition, ...]
    principals: Principals | None
    """None where the policy's owner is the principal."""
