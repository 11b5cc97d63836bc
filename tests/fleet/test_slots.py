import pytest

from outcrop.fleet.slots import Slots, Standing


def take_all(slots: Slots, standing: Standing) -> int:
    number = 0
    while slots.take(standing):
        number += 1
    return number


def test_no_more_are_taken_than_there_are() -> None:
    slots = Slots(3)

    taken = take_all(slots, Standing.DEFAULT)

    assert (taken, slots.in_use, slots.free) == (3, 3, False)


def test_what_is_given_back_can_be_taken_again() -> None:
    slots = Slots(1)
    slots.take()

    slots.give_back()

    assert (slots.in_use, slots.free, slots.take()) == (0, True, True)


def test_without_a_limit_there_is_always_one() -> None:
    slots = Slots(None)

    taken = [slots.take() for _ in range(10_000)]

    assert (all(taken), slots.free, slots.most) == (True, True, None)


def test_what_nobody_took_is_not_given_back() -> None:
    with pytest.raises(RuntimeError):
        Slots(1).give_back()


def test_fewer_slots_leave_calls_in_progress_alone() -> None:
    slots = Slots(3)
    take_all(slots, Standing.DEFAULT)

    slots.resize(1)
    slots.give_back()
    slots.give_back()

    assert (slots.in_use, slots.free) == (1, False)


def test_slots_held_back_are_for_provisioned_traffic_alone() -> None:
    slots = Slots(5)
    slots.hold_back(2)

    others = take_all(slots, Standing.PRIORITY)
    provisioned = take_all(slots, Standing.PROVISIONED)

    assert (others, provisioned) == (3, 2)


def test_provisioned_traffic_may_take_all_of_them() -> None:
    slots = Slots(5)
    slots.hold_back(2)

    assert take_all(slots, Standing.PROVISIONED) == 5


def test_so_many_stay_free_for_provisioned_traffic_whatever_it_uses() -> None:
    slots = Slots(5)
    slots.hold_back(2)
    slots.take(Standing.PROVISIONED)

    assert take_all(slots, Standing.FLEX) == 2


def test_more_may_be_held_back_than_there_are() -> None:
    slots = Slots(2)
    slots.hold_back(3)

    assert (slots.take(Standing.DEFAULT), slots.take(Standing.PROVISIONED)) == (False, True)
