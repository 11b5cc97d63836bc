"""The sockets by which one worker answers for all when metrics are scraped."""

import socket
from collections.abc import Sequence
from typing import NamedTuple


class Scrape(NamedTuple):
    """One worker's part in it. Whoever comes after that worker has the same sockets."""

    listener: socket.socket | None = None
    """Of the first worker."""
    others: Sequence[socket.socket] = ()
    """Where the first worker asks them."""
    asked: socket.socket | None = None
    """Where any other worker is asked."""
    lives: int = 0
    """How many had this place before and were lost."""


def parts(listener: socket.socket, workers: int) -> Sequence[Scrape]:
    """To be made before the workers are."""
    # Of datagrams: a worker that dies leaves no half of one behind for the next.
    pairs = [socket.socketpair(type=socket.SOCK_DGRAM) for _ in range(workers - 1)]
    first = Scrape(listener=listener, others=tuple(asking for asking, _ in pairs))
    return (first, *(Scrape(asked=asked) for _, asked in pairs))


def close(made: Sequence[Scrape]) -> None:
    for part in made:
        for one in (part.listener, part.asked, *part.others):
            if one is not None:
                one.close()
