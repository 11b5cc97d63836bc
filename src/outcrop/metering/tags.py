"""The tags that a call counts under: those its profile or provisioned model has when it begins."""

import asyncio
from collections.abc import Awaitable, Callable

TagsOf = Callable[[str], Awaitable[tuple[tuple[str, str], ...]]]
"""By ARN."""

FRESH_S = 1.0
"""A change may take so long to be seen."""
_REMEMBERED = 10_000


class TagMemory:
    """Asks the store for the tags of a resource once a second at most."""

    def __init__(self, tags_of: TagsOf) -> None:
        self._tags_of = tags_of
        self._known: dict[str, tuple[float, tuple[tuple[str, str], ...]]] = {}

    async def __call__(self, resource_arn: str) -> tuple[tuple[str, str], ...]:
        now_s = asyncio.get_running_loop().time()
        known = self._known.get(resource_arn)
        if known is not None and now_s - known[0] < FRESH_S:
            return known[1]
        tags = await self._tags_of(resource_arn)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[resource_arn] = now_s, tags
        return tags


async def untagged(_resource_arn: str) -> tuple[tuple[str, str], ...]:
    """Where no store is."""
    return ()
