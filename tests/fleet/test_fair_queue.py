from collections import Counter

from hypothesis import given, strategies as st

from outcrop.fleet.fair_queue import FairQueue

ACCOUNTS = st.sampled_from("abcd")


def popped(queue: FairQueue[tuple[str, int]], number: int) -> "Counter[str]":
    return Counter(queue.pop()[0] for _ in range(number))


def full(queue: FairQueue[tuple[str, int]], account: str, number: int, weight: float = 1) -> None:
    for n in range(number):
        queue.add((account, n), account, weight)


def test_accounts_take_turns_however_much_of_them_waits() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 100)
    full(queue, "b", 3)

    assert [queue.pop() for _ in range(7)] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
        ("a", 3),
    ]


def test_twice_the_weight_is_twice_the_turns() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 100, weight=1)
    full(queue, "b", 100, weight=2)

    assert popped(queue, 90) == {"a": 30, "b": 60}


def test_a_late_comer_is_not_owed_the_past() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 100)
    popped(queue, 50)
    full(queue, "b", 50)

    assert popped(queue, 20) == {"a": 10, "b": 10}


def test_who_comes_again_after_each_turn_gets_no_more_of_them() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 100)
    full(queue, "b", 1)
    served: Counter[str] = Counter()

    for n in range(40):
        account, _ = queue.pop()
        served[account] += 1
        if account == "b":
            queue.add(("b", n + 1), "b", 1)

    assert served == {"a": 20, "b": 20}


def test_who_comes_again_among_many_gets_no_more_turns() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(100):
        full(queue, f"{number}", 5)
    full(queue, "b", 1)
    served: Counter[str] = Counter()

    for n in range(303):
        account, _ = queue.pop()
        served[account] += 1
        if account == "b":
            queue.add(("b", n + 1), "b", 1)

    assert set(served.values()) == {3}


def test_who_leaves_takes_no_turn_from_its_account() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 3)
    full(queue, "b", 3)

    queue.remove(("a", 0), "a")
    queue.remove(("a", 1), "a")

    assert [queue.pop() for _ in range(len(queue))] == [("a", 2), ("b", 0), ("b", 1), ("b", 2)]


def test_who_comes_and_goes_a_thousand_times_leaves_nothing_behind() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    full(queue, "a", 2)

    for _ in range(1_000):
        queue.add(("b", 0), "b", 1)
        queue.remove(("b", 0), "b")

    assert len(queue._turns) < 50
    assert [queue.pop(), queue.pop()] == [("a", 0), ("a", 1)]


@given(
    st.dictionaries(ACCOUNTS, st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2),
    st.integers(1, 200),
)
def test_who_always_waits_is_never_more_than_a_turn_from_its_share(
    weights: dict[str, float], turns: int
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for account, weight in weights.items():
        full(queue, account, turns, weight)

    served = popped(queue, turns)

    shares = [served[account] / weight for account, weight in weights.items()]
    apart = [abs(a - b) for a in shares for b in shares]
    assert max(apart) <= 2 / min(weights.values())


@given(st.lists(st.one_of(st.none(), ACCOUNTS, st.integers(0, 30))))
def test_what_was_added_comes_out_once_and_in_the_order_of_its_account(
    steps: list[str | int | None],
) -> None:
    """A letter adds, a number removes what is at that place, None pops."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    waiting: list[tuple[str, int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, str):
            queue.add((step, number), step, 1.0)
            waiting.append((step, number))
        elif waiting and step is None:
            item = queue.pop()
            assert item == next(other for other in waiting if other[0] == item[0])
            waiting.remove(item)
        elif waiting and isinstance(step, int):
            item = waiting.pop(step % len(waiting))
            queue.remove(item, item[0])
        assert len(queue) == len(waiting)
        assert queue.weight == len({account for account, _ in waiting})
