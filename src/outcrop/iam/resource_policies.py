"""The policies at resources: by which a request is judged, and whom of other accounts they name.

What is read stays known as long as the version of the directory is the same.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from outcrop.iam.access import is_named
from outcrop.iam.authenticator import Identified
from outcrop.iam.caller import Caller
from outcrop.iam.directory import parsed
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import AttachedPolicy
from outcrop.wire.arn import Arn

MOST_KNOWN = 1_024


class Documents(Protocol):
    async def arns(self) -> frozenset[str]: ...
    async def find(self, resource_arn: str) -> str | None: ...


class ResourcePolicies:
    def __init__(self, documents: Documents, version: Callable[[], int]) -> None:
        """`version` is another one after every change of a policy."""
        self._documents = documents
        self._version_now = version
        self._version: int | None = None
        self._arns: frozenset[str] = frozenset()
        self._known: dict[str, AttachedPolicy | None] = {}
        self._reading = asyncio.Lock()

    @property
    def exist(self) -> bool:
        """Whether any resource of any account has one, as of the last `refresh`."""
        return bool(self._arns)

    async def at(self, caller: Caller, arn: str) -> AttachedPolicy | None:
        """What the caller is to be judged by; none of another account that does not name it."""
        if self.behind:
            await self.refresh()
        if arn not in self._arns:
            return None
        if arn != caller.shared_arn and Arn.parse(arn).account_id != caller.account_id:
            return None
        return await self._find(arn)

    async def reaching(self, identified: Identified, labels: Mapping[str, str]) -> Identified:
        """With what of another account's the request's path names, if that names the principal."""
        for label in labels.values():
            if await self.shares(identified.authorizer.principal, label):
                return replace(identified, shared_arn=label)
        return identified

    async def shares(self, principal: Principal, arn: str) -> bool:
        """Whether it is another account's, and its policy allows the principal anything."""
        if self.behind:
            await self.refresh()
        if arn not in self._arns or Arn.parse(arn).account_id == principal.caller.account_id:
            return False
        policy = await self._find(arn)
        return policy is not None and is_named(principal, policy, arn)

    @property
    def behind(self) -> bool:
        """Whether `refresh` would read anything."""
        return self._version != self._version_now()

    async def refresh(self) -> None:
        async with self._reading:
            version = self._version_now()
            if self._version != version:
                self._arns = await self._documents.arns()
                self._known.clear()
                self._version = version

    async def _find(self, arn: str) -> AttachedPolicy | None:
        if arn in self._known:
            return self._known[arn]
        version, text = self._version, await self._documents.find(arn)
        found = None if text is None else _attached(arn, text)
        if version == self._version:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[arn] = found
        return found


def _attached(arn: str, text: str) -> AttachedPolicy:
    return AttachedPolicy(name=arn, policy=parsed(text, "resource-based policy"))
