import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from outcrop.fleet.slots import Slots, Standing
from outcrop.fleet.waiting_room import NoSlotError, NoSlotReason, Rank, Servers, WaitingRoom
from tests.fake_time import run


class Room:
    """A waiting room, and the names of those served, in their order."""

    def __init__(self, room: WaitingRoom | None = None) -> None:
        self.room = room or WaitingRoom()
        self.served: list[str] = []
        self.refused: dict[str, NoSlotError] = {}
        self.got: dict[str, Slots] = {}
        self.servers: dict[tuple[Slots, ...], Servers] = {}

    async def enter(
        self,
        name: str,
        servers: Sequence[Slots],
        standing: int = Standing.DEFAULT,
        *,
        account: str = "a",
        weight: float = 1.0,
        patience_s: float = 1e6,
    ) -> asyncio.Task[None]:
        """Returns when the call waits, is served or refused."""
        loop = asyncio.get_running_loop()
        rank = Rank(
            standing=standing,
            account_id=account,
            weight=weight,
            deadline=loop.time() + patience_s,
        )
        task = loop.create_task(self._wait(name, servers, rank))
        await settled()
        return task

    async def _wait(self, name: str, servers: Sequence[Slots], rank: Rank) -> None:
        try:
            self.got[name] = await self._slot(tuple(servers), rank)
        except NoSlotError as error:
            self.refused[name] = error
        else:
            self.served.append(name)

    async def _slot(self, slots: tuple[Slots, ...], rank: Rank) -> Slots:
        free = next((one for one in slots if one.take()), None)
        servers = self.servers.setdefault(slots, Servers(slots))
        return free or await self.room.wait(servers, rank)

    def reason(self, name: str) -> NoSlotReason:
        return self.refused[name].reason


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def give_back(slots: Slots, times: int = 1) -> None:
    for _ in range(times):
        slots.give_back()
        await settled()


def taken(number: int) -> Slots:
    """A server of which all slots are in use."""
    slots = Slots(number)
    for _ in range(number):
        slots.take()
    return slots


def in_a_room(
    test: Callable[[Room], Awaitable[None]], *, most: int = 1_000, of_one: int | None = None
) -> Room:
    async def main() -> Room:
        room = Room(WaitingRoom(most_waiting=most, most_of_one_standing=of_one))
        await test(room)
        return room

    return run(main())


def test_a_free_slot_is_had_at_once_from_the_first_server_that_has_one() -> None:
    full, free, other = taken(1), Slots(1), Slots(1)

    async def test(room: Room) -> None:
        await room.enter("call", [full, free, other])

    assert in_a_room(test).got == {"call": free}
    assert (free.in_use, other.in_use) == (1, 0)


def test_the_first_slot_that_frees_wins() -> None:
    slow, quick = taken(1), taken(1)

    async def test(room: Room) -> None:
        await room.enter("call", [slow, quick])
        assert room.got == {}
        await give_back(quick)
        await give_back(slow)

    assert in_a_room(test).got == {"call": quick}
    assert (slow.in_use, quick.in_use) == (0, 1)


def test_a_better_standing_is_always_served_first() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for standing in (3, 1, 2, 0, 3, 0):
            await room.enter(f"{standing}", [gpu], standing)
        await give_back(gpu, times=6)

    assert in_a_room(test).served == ["0", "0", "1", "2", "3", "3"]


def test_accounts_take_turns_by_weight() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for _ in range(6):
            await room.enter("flood", [gpu], account="a")
        for _ in range(4):
            await room.enter("heavy", [gpu], account="b", weight=2.0)
        await give_back(gpu, times=6)

    assert sorted(in_a_room(test).served) == ["flood"] * 2 + ["heavy"] * 4


def test_lines_for_different_servers_take_turns_at_the_one_they_share() -> None:
    gpu, other = taken(1), taken(1)

    async def test(room: Room) -> None:
        for _ in range(10):
            await room.enter("flood", [gpu, other], account="a")
        for _ in range(3):
            await room.enter("single", [gpu], account="b")
        await give_back(gpu, times=6)

    assert in_a_room(test).served == ["flood", "single"] * 3


def test_a_newcomer_overtakes_nobody() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await room.enter("first", [gpu])
        gpu.give_back()
        assert not gpu.take()
        await room.enter("second", [gpu], Standing.PROVISIONED)

    assert in_a_room(test).served == ["first"]


def test_who_has_gone_swallows_no_slot() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        gone = await room.enter("gone", [gpu])
        await room.enter("next", [gpu])
        gone.cancel()
        gpu.give_back()
        await settled()
        assert gone.cancelled()

    assert in_a_room(test).served == ["next"]


def test_who_goes_in_the_step_of_being_served_leaves_the_slot_to_the_next() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        gone = await room.enter("gone", [gpu])
        await room.enter("next", [gpu])
        gpu.give_back()
        gone.cancel()
        await settled()
        assert gone.cancelled()

    assert in_a_room(test).served == ["next"]
    assert gpu.in_use == 1


def test_who_goes_in_the_step_of_being_served_frees_the_slot_when_nobody_is_next() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        gone = await room.enter("gone", [gpu], Standing.PROVISIONED)
        gpu.give_back()
        gone.cancel()
        await settled()

    in_a_room(test)
    assert gpu.free


def test_more_slots_are_for_those_who_wait() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for name in ("first", "second", "third"):
            await room.enter(name, [gpu])
        gpu.resize(3)
        await settled()

    assert in_a_room(test).served == ["first", "second"]


def test_who_waits_until_the_deadline_waits_no_longer() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await room.enter("call", [gpu], patience_s=5.0)
        await asyncio.sleep(4.9)
        assert room.refused == {}
        await asyncio.sleep(0.2)
        assert room.room.waiting == 0
        await give_back(gpu)

    room = in_a_room(test)
    assert room.reason("call") is NoSlotReason.TOO_LATE
    assert room.refused["call"].retry_after_s >= 1.0
    assert gpu.free


def test_a_deadline_that_has_passed_is_no_reason_to_wait() -> None:
    async def test(room: Room) -> None:
        await room.enter("call", [taken(1)], patience_s=0.0)

    assert in_a_room(test).reason("call") is NoSlotReason.TOO_SLOW


def test_who_was_served_leaves_no_timer_behind() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await room.enter("call", [gpu], patience_s=1e9)
        await give_back(gpu)
        timers = vars(asyncio.get_running_loop())["_scheduled"]
        assert all(timer.cancelled() for timer in timers)

    assert in_a_room(test).served == ["call"]


async def a_slot_every_two_seconds(room: Room, gpu: Slots, *, waiting: int) -> None:
    """A line that has moved at this pace, and has so many in it."""
    for n in range(20 + waiting):
        await room.enter(f"before {n}", [gpu])
    for _ in range(20):
        await asyncio.sleep(2.0)
        await give_back(gpu)


def test_who_would_wait_too_long_is_refused_at_once_and_told_when_to_come_back() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await a_slot_every_two_seconds(room, gpu, waiting=9)
        await room.enter("in a hurry", [gpu], patience_s=15.0)
        await room.enter("has time", [gpu], patience_s=25.0)

    room = in_a_room(test)
    assert list(room.refused) == ["in a hurry"]
    assert room.reason("in a hurry") is NoSlotReason.TOO_SLOW
    assert room.refused["in a hurry"].retry_after_s == pytest.approx(5.0, abs=0.5)


def test_what_others_have_waiting_does_not_delay_an_account_of_its_own() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await a_slot_every_two_seconds(room, gpu, waiting=50)
        await room.enter("same", [gpu], patience_s=15.0)
        await room.enter("another", [gpu], account="b", patience_s=15.0)

    assert list(in_a_room(test).refused) == ["same"]


def test_the_first_in_line_waits_however_slow_it_was() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await a_slot_every_two_seconds(room, gpu, waiting=0)
        await room.enter("first", [gpu], patience_s=0.5)
        assert room.refused == {}
        await give_back(gpu)

    assert in_a_room(test).served[-1] == "first"


def test_nobody_is_refused_for_a_pace_of_long_ago() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await a_slot_every_two_seconds(room, gpu, waiting=0)
        await asyncio.sleep(100.0)
        for n in range(5):
            await room.enter(f"{n}", [gpu], patience_s=1.0)
        assert room.refused == {}
        await give_back(gpu, times=5)

    assert len(in_a_room(test).served) == 25


def test_servers_that_hang_are_noticed_in_the_estimate() -> None:
    gpus = [taken(2), taken(2)]

    async def test(room: Room) -> None:
        for n in range(8):
            await room.enter(f"before {n}", gpus)
        await asyncio.sleep(40.0)
        await room.enter("call", gpus, patience_s=60.0)

    assert in_a_room(test).reason("call") is NoSlotReason.TOO_SLOW


def test_who_waits_until_another_worker_s_slots_come_over_is_not_refused_for_it() -> None:
    """A worker that has died has them for some seconds: that says nothing of the line's pace."""
    gpu = Slots(0)

    async def test(room: Room) -> None:
        for n in range(50):
            await room.enter(f"before {n}", [gpu], patience_s=30.0)
        await asyncio.sleep(4.0)
        await room.enter("meanwhile", [gpu], patience_s=30.0)
        gpu.resize(2)
        for n in range(50):
            await asyncio.sleep(0.1)
            await room.enter(f"after {n}", [gpu], patience_s=30.0)
            await give_back(gpu)

    assert in_a_room(test).refused == {}


def test_slots_that_go_round_among_workers_are_in_the_estimate() -> None:
    gpu = Slots(0)

    async def test(room: Room) -> None:
        for n in range(29):
            await room.enter(f"before {n}", [gpu])
        for _ in range(20):
            await asyncio.sleep(1.9)
            gpu.resize(1)
            await asyncio.sleep(0.1)
            gpu.resize(0)
            await give_back(gpu)
        await room.enter("in a hurry", [gpu], patience_s=15.0)
        await room.enter("has time", [gpu], patience_s=25.0)

    room = in_a_room(test)
    assert list(room.refused) == ["in a hurry"]
    assert room.refused["in a hurry"].retry_after_s == pytest.approx(4.0, abs=1.0)


def test_a_full_queue_refuses_the_newcomer() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for name in ("first", "second", "third"):
            await room.enter(name, [gpu])
        await give_back(gpu, times=2)

    room = in_a_room(test, most=2)
    assert room.served == ["first", "second"]
    assert room.reason("third") is NoSlotReason.FULL


def test_a_better_standing_takes_the_place_of_the_newest_of_the_worst() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        await room.enter("old flex", [gpu], Standing.FLEX)
        await room.enter("new flex", [gpu], Standing.FLEX)
        await room.enter("default", [gpu], Standing.DEFAULT)
        await room.enter("priority", [gpu], Standing.PRIORITY)

    room = in_a_room(test, most=3)
    assert list(room.refused) == ["new flex"]
    assert room.reason("new flex") is NoSlotReason.EVICTED


def test_a_worse_standing_takes_nobody_s_place() -> None:
    async def test(room: Room) -> None:
        await room.enter("priority", [taken(1)], Standing.PRIORITY)
        await room.enter("flex", [taken(1)], Standing.FLEX)

    assert list(in_a_room(test, most=1).refused) == ["flex"]


def test_a_standing_that_is_full_leaves_room_for_the_others() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for n in range(3):
            await room.enter(f"default {n}", [gpu], Standing.DEFAULT)
        await room.enter("flex", [gpu], Standing.FLEX)
        assert room.room.waiting == 3

    assert list(in_a_room(test, most=10, of_one=2).refused) == ["default 2"]


def test_the_flood_of_one_account_keeps_no_other_out() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        for n in range(6):
            await room.enter(f"flood {n}", [gpu], account="a")
        for n in range(4):
            await room.enter(f"late {n}", [gpu], account="b")

    room = in_a_room(test, most=6)
    assert list(room.refused) == ["flood 5", "flood 4", "flood 3", "late 3"]


def test_who_has_gone_makes_room_in_the_same_step() -> None:
    gpu = taken(1)

    async def test(room: Room) -> None:
        gone = await room.enter("gone", [gpu], Standing.FLEX)
        gone.cancel()
        await room.enter("default", [gpu])
        assert room.room.waiting == 1

    assert in_a_room(test, most=1).refused == {}


def test_lines_nobody_waits_in_are_given_up() -> None:
    async def test(room: Room) -> None:
        for _ in range(1_000):
            gpu = taken(1)
            await room.enter("call", [gpu])
            await give_back(gpu)
        assert len(room.room._lines) <= 64

    assert len(in_a_room(test).served) == 1_000


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_zero(weight: float) -> None:
    with pytest.raises(ValueError, match="not a weight"):
        Rank(standing=0, account_id="a", weight=weight, deadline=0.0)
