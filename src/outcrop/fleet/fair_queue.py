"""Whose turn it is: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Pure."""

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ItemT = TypeVar("ItemT")

# Below this many, what is no longer needed is not worth the search for it.
_FEW = 16


class VirtualTime(Generic[KeyT]):
    """When the next turn of each begins, in turns of a weight of one.

    Whoever's begins first is next. Who comes late begins now: it is not owed the past. Who went
    away with a turn just had does not come back before those who waited in the meantime.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ends: dict[KeyT, float] = {}
        """When the last turn of each ends, where that may still be ahead."""
        self._swept_at = _FEW

    def start(self, key: KeyT) -> float:
        return max(self._now, self._ends.get(key, 0.0))

    def serve(self, key: KeyT, weight: float) -> None:
        """A turn of `key`, which is the first to begin."""
        self._now = self.start(key)
        self._ends[key] = self._now + 1.0 / weight
        if len(self._ends) > self._swept_at:
            self._sweep()

    def forget(self, key: KeyT) -> None:
        self._ends.pop(key, None)

    def _sweep(self) -> None:
        self._ends = {key: end for key, end in self._ends.items() if end > self._now}
        self._swept_at = 2 * len(self._ends) + _FEW


class _Account(Generic[ItemT]):
    """One account while something of it waits."""

    __slots__ = ("account_id", "items", "weight")

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self.weight = 0.0
        self.items: OrderedDict[ItemT, None] = OrderedDict()


class FairQueue(Generic[ItemT]):
    """Accounts take turns, in proportion to their weights; within one, first come, first served.

    Adding and popping cost O(log accounts), removing O(1) on average.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account[ItemT]] = {}
        self._turns: list[tuple[float, int, _Account[ItemT]]] = []
        """A heap; an account that has left in the meantime has no items."""
        self._time: VirtualTime[str] = VirtualTime()
        self._added = 0
        self._length = 0
        self.weight = 0.0
        """Of all accounts of which something waits."""

    def __len__(self) -> int:
        return self._length

    def add(self, item: ItemT, account_id: str, weight: float) -> None:
        """`weight`, above zero, counts for the account from now on."""
        account = self._accounts.get(account_id)
        if account is None:
            account = self._accounts[account_id] = _Account(account_id)
            self._queue(account)
        self.weight += weight - account.weight
        account.weight = weight
        account.items[item] = None
        self._length += 1

    def first(self) -> ItemT:
        """What `pop` gives next; raises IndexError when nothing waits."""
        return next(iter(self._first().items))

    def pop(self) -> ItemT:
        """The account has had a turn. Raises IndexError when nothing waits."""
        account = self._first()
        heappop(self._turns)
        self._time.serve(account.account_id, account.weight)
        item, _ = account.items.popitem(last=False)
        self._length -= 1
        if account.items:
            self._queue(account)
        else:
            self._gone(account)
        return item

    def remove(self, item: ItemT, account_id: str) -> None:
        """Raises KeyError if it does not wait."""
        account = self._accounts[account_id]
        del account.items[item]
        self._length -= 1
        if not account.items:
            self._gone(account)

    def position(self, account_id: str, weight: float) -> float:
        """The turn that one more item of the account would have: 1 is the next. An estimate."""
        account = self._accounts.get(account_id)
        others = self.weight if account is None else self.weight - account.weight
        own = 1 if account is None else len(account.items) + 1
        return min(self._length + 1.0, own * (others + weight) / weight)

    def _first(self) -> _Account[ItemT]:
        while not self._turns[0][2].items:
            heappop(self._turns)
        return self._turns[0][2]

    def _queue(self, account: _Account[ItemT]) -> None:
        self._added += 1
        heappush(self._turns, (self._time.start(account.account_id), self._added, account))

    def _gone(self, account: _Account[ItemT]) -> None:
        del self._accounts[account.account_id]
        self.weight -= account.weight
        if not self._accounts:
            # Nobody is left to be owed anything, and sums of fractions start from zero again.
            self._turns, self._time, self.weight = [], VirtualTime(), 0.0
        elif len(self._turns) > 2 * len(self._accounts) + _FEW:
            self._turns = [turn for turn in self._turns if turn[2].items]
            heapify(self._turns)
