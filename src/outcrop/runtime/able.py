"""One question to the first server that can be asked it: what one kind lacks, another may have."""

from collections.abc import Awaitable, Callable, Container, Sequence
from typing import TypeVar

from outcrop.fleet.pool import Candidate, Kind, Pool
from outcrop.fleet.router import Attempt, Request, Router
from outcrop.wire.errors import ValidationException

T = TypeVar("T")


class UnableError(Exception):
    """No server of this kind can be asked this."""

    def __init__(self, candidate: Candidate, refusal: ValidationException) -> None:
        super().__init__(refusal.message)
        self.kind = Kind(candidate.dialect, candidate.capabilities)
        self.refusal = refusal


async def first_able(
    router: Router,
    pools: Sequence[Pool],
    ask: Callable[[Attempt], Awaitable[T]],
    request: Request,
) -> T:
    """As `Router.first`; `ask` may raise UnableError, too. Raises the first kind's refusal."""
    unable: dict[Kind, ValidationException] = {}
    left = pools
    while left:
        try:
            return await router.first(left, ask, request)
        except UnableError as error:
            unable[error.kind] = error.refusal
        left = _without(unable, pools)
    raise next(iter(unable.values()))


def _without(kinds: Container[Kind], pools: Sequence[Pool]) -> Sequence[Pool]:
    able = (pool.only(lambda kind: kind not in kinds) for pool in pools)
    return [pool for pool in able if pool is not None]
