import pytest

from outcrop.fleet.slots import Slots


def take_all(slots: Slots) -> int:
    number = 0
    while slots.take():
        number += 1
    return number


def test_no_more_are_taken_than_there_are() -> None:
    slots = Slots(3)

    taken = take_all(slots)

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
    take_all(slots)

    slots.resize(1)
    slots.give_back()
    slots.give_back()

    assert (slots.in_use, slots.free) == (1, False)
