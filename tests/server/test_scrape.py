"""How one worker is asked by another what it has measured."""

import asyncio
import socket

import msgspec
import pytest

from outcrop.metering.snapshot import Snapshot
from outcrop.server.scrape import Other, Told

REQUESTS = {("bedrock", "ListInferenceProfiles", 200): 7}
TOLD = Told(2, Snapshot(requests=REQUESTS))


def asked(*answers: bytes) -> Told:
    """What the other worker is understood to say at last; it answers one question with each."""

    async def main() -> Told:
        asking, answering = socket.socketpair(type=socket.SOCK_DGRAM)
        with asking, answering:
            other = Other(asking)
            for answer in answers[:-1]:
                with pytest.raises(ConnectionResetError):
                    await answered(other, answering, answer)
            return await answered(other, answering, answers[-1])

    return asyncio.run(main())


async def answered(other: Other, answering: socket.socket, answer: bytes) -> Told:
    reading = asyncio.ensure_future(other.read())
    await asyncio.sleep(0)
    _, (link,), _, _ = socket.recv_fds(answering, 1, 1)
    with socket.socket(fileno=link) as there:
        there.sendall(answer)
    return await reading


def test_what_it_says_is_understood() -> None:
    told = asked(msgspec.msgpack.encode(TOLD))

    assert (told.lives, told.snapshot.requests) == (2, REQUESTS)


@pytest.mark.parametrize("bytes_told", [0, 1, 20])
def test_one_that_dies_while_it_answers_has_ended(bytes_told: int) -> None:
    with pytest.raises(ConnectionResetError):
        asked(msgspec.msgpack.encode(TOLD)[:bytes_told])


def test_who_comes_after_one_that_died_while_it_answered_is_understood() -> None:
    whole = msgspec.msgpack.encode(TOLD)

    assert asked(whole[:20], whole).snapshot.requests == REQUESTS
