"""Who of those who serve a model can do all that is asked."""

from collections.abc import Sequence

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.pool import Kind, Pool
from outcrop.runtime.dialects.dialect import Asked
from outcrop.runtime.dialects.refusals import refusal
from outcrop.wire.errors import ValidationException


def suited(asked: Asked, pools: Sequence[Pool]) -> Sequence[Pool]:
    """In their order. Raises ValidationException, in the words of the first, if nobody can."""
    for pool in pools:
        for group in pool.groups:
            if refusal(asked, group.kind.capabilities) is not None:
                return _some_of(asked, pools)
    return pools


def _some_of(asked: Asked, pools: Sequence[Pool]) -> Sequence[Pool]:
    refusals: dict[Capabilities, ValidationException | None] = {}

    def able(kind: Kind) -> bool:
        if kind.capabilities not in refusals:
            refusals[kind.capabilities] = refusal(asked, kind.capabilities)
        return refusals[kind.capabilities] is None

    found = [kept for pool in pools if (kept := pool.only(able)) is not None]
    if not found:
        raise next(refused for refused in refusals.values() if refused is not None)
    return found
