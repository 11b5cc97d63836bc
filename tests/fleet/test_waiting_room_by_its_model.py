"""Slots and waiting room against a plain model of their rules, whatever happens to them."""

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outcrop.fleet.slots import Slots
from outcrop.fleet.waiting_room import NoSlotError, Rank, Servers, WaitingRoom
from tests.fake_time import FakeTimeLoop
from tests.fleet.waiting_model import Call, Model

SIZES = (1, 2, 3)
POOLS = ((0,), (1,), (0, 1), (0, 1, 2), (2, 0))
STANDINGS = st.integers(0, 3)
SERVERS = st.integers(0, len(SIZES) - 1)
WHICH = st.integers(0, 1_000)
# Halves and doubles: their sums have no rounding in which the two could differ.
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 0.5}


class _Machine(RuleBasedStateMachine):
    """Calls come, end, give up, and servers change."""

    most_waiting = 1_000
    patience_s = 1e9

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeTimeLoop()
        self.servers = [Slots(most) for most in SIZES]
        self.pools = [Servers(self.servers[number] for number in pool) for pool in POOLS]
        self.room = WaitingRoom(most_waiting=self.most_waiting)
        self.calls: dict[int, Call] = {}
        self.tasks: dict[int, asyncio.Task[Slots]] = {}
        self.names = 0

    def teardown(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.settle()
        self.loop.close()

    def start(self, pool: int, standing: int, account: str) -> Call:
        self.names += 1
        call = Call(self.names, standing, account, WEIGHTS[account], POOLS[pool])
        rank = Rank(
            standing=standing,
            account_id=account,
            weight=call.weight,
            deadline=self.loop.time() + self.patience_s,
        )
        self.calls[call.name] = call
        self.tasks[call.name] = self.loop.create_task(self.slot(self.pools[pool], rank))
        return call

    async def slot(self, servers: Servers, rank: Rank) -> Slots:
        free = next((slots for slots in servers.slots if slots.take()), None)
        return free or await self.room.wait(servers, rank)

    def settle(self, waited_for: Awaitable[None] | None = None) -> None:
        async def main() -> None:
            await (waited_for or asyncio.sleep(0))
            for _ in range(6):
                await asyncio.sleep(0)

        self.loop.run_until_complete(main())

    def holders(self) -> dict[int, int]:
        return {
            name: self.servers.index(task.result())
            for name, task in self.tasks.items()
            if task.done() and not task.cancelled() and task.exception() is None
        }

    def waiting(self) -> set[int]:
        return {name for name, task in self.tasks.items() if not task.done()}

    def end(self, name: int) -> Call:
        """The call gives back its slot; the loop has not run since."""
        self.servers[self.holders()[name]].give_back()
        del self.tasks[name]
        return self.calls.pop(name)

    def give_up(self, name: int) -> Call:
        self.tasks.pop(name).cancel()
        return self.calls.pop(name)

    def check_slots(self) -> None:
        """Exactly those who hold one have taken it."""
        holders = self.holders()
        for number, server in enumerate(self.servers):
            assert server.in_use == sum(where == number for where in holders.values())

    def check_nobody_waits_for_a_free_slot(self) -> None:
        for name in self.waiting():
            call = self.calls[name]
            assert not any(self.servers[number].free for number in call.servers)


class ServesAsItsModel(_Machine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(SIZES)

    @rule(pool=st.integers(0, len(POOLS) - 1), standing=STANDINGS, account=st.sampled_from("aabcd"))
    def comes(self, pool: int, standing: int, account: str) -> None:
        self.model.enter(self.start(pool, standing, account))
        self.settle()

    @precondition(lambda self: self.model.holders())
    @rule(which=WHICH)
    def ends(self, which: int) -> None:
        names = sorted(self.model.holders())
        self.model.leave(self.end(names[which % len(names)]))
        self.settle()

    @precondition(lambda self: self.model.waiting())
    @rule(which=WHICH)
    def gives_up(self, which: int) -> None:
        names = sorted(self.model.waiting())
        self.model.leave(self.give_up(names[which % len(names)]))
        self.settle()

    @precondition(lambda self: self.model.waiting() and self.model.holders())
    @rule(which=WHICH, other=WHICH)
    def gives_up_in_the_step_before_a_slot_frees(self, which: int, other: int) -> None:
        names, holders = sorted(self.model.waiting()), sorted(self.model.holders())
        self.model.leave(self.give_up(names[which % len(names)]))
        self.model.leave(self.end(holders[other % len(holders)]))
        self.settle()

    @precondition(lambda self: self.model.waiting() and self.model.holders())
    @rule(which=WHICH)
    def gives_up_in_the_step_of_being_served(self, which: int) -> None:
        before = self.model.holders()
        names = sorted(before)
        self.model.leave(self.end(names[which % len(names)]))
        for name in sorted(self.model.holders().keys() - before.keys()):
            self.model.leave(self.give_up(name))
        self.settle()

    @rule(server=SERVERS, most=st.integers(0, 4))
    def is_resized(self, server: int, most: int) -> None:
        self.model.servers[server].most = most
        self.model.hand_on(server)
        self.servers[server].resize(most)
        self.settle()

    @invariant()
    def those_and_only_those_are_served_who_should_be(self) -> None:
        assert self.holders() == self.model.holders()
        assert self.waiting() == self.model.waiting()
        assert self.room.waiting == len(self.model.waiting())
        self.check_slots()
        self.check_nobody_waits_for_a_free_slot()


class LosesNothing(_Machine):
    """With deadlines, and a queue that is soon full: several things happen in one step."""

    most_waiting = 4
    patience_s = 5.0

    @rule(
        calls=st.lists(
            st.tuples(st.integers(0, len(POOLS) - 1), STANDINGS, st.sampled_from("aaab")),
            max_size=5,
        )
    )
    def come(self, calls: list[tuple[int, int, str]]) -> None:
        for pool, standing, account in calls:
            self.start(pool, standing, account)

    @rule(which=st.sets(WHICH, max_size=4))
    def end_at_once(self, which: set[int]) -> None:
        for number in which:
            if names := sorted(self.holders()):
                self.end(names[number % len(names)])

    @rule(which=WHICH)
    def gives_up(self, which: int) -> None:
        if names := sorted(self.waiting()):
            task = self.tasks[names[which % len(names)]]
            task.cancel()

    @rule(server=SERVERS, most=st.integers(1, 4))
    def changes(self, server: int, most: int) -> None:
        self.servers[server].resize(most)

    @rule()
    def runs(self) -> None:
        self.settle()

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.settle(asyncio.sleep(seconds))

    @invariant()
    def no_more_wait_than_may(self) -> None:
        assert self.room.waiting <= self.most_waiting

    def teardown(self) -> None:
        self.settle(asyncio.sleep(2 * self.patience_s))
        assert not self.waiting()
        assert self.room.waiting == 0
        self.check_slots()
        for name in tuple(self.holders()):
            self.end(name)
        assert [server.in_use for server in self.servers] == [0] * len(SIZES)
        for task in self.tasks.values():
            assert task.cancelled() or isinstance(task.exception(), NoSlotError)
        super().teardown()


TestServesAsItsModel = pytest.mark.slow(ServesAsItsModel.TestCase)
TestServesAsItsModel.settings = settings(max_examples=60, stateful_step_count=40)
TestLosesNothing = pytest.mark.slow(LosesNothing.TestCase)
TestLosesNothing.settings = settings(max_examples=60, stateful_step_count=30)
