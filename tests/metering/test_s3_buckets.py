"""Objects into buckets: long ones in parts, tried again, whole or not at all."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from outcrop.metering.config import S3DeliveryConfig
from outcrop.metering.delivery.records import Delivered, Place
from outcrop.metering.delivery.s3 import PART_BYTES, PART_TRIES, S3Buckets
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.server.clock import utc_now
from tests.fakes.s3_server import PART, Fault, S3Server, s3_server
from tests.metering.logged import ACCOUNT, REGION

BODY = Random(5).randbytes(2 * PART_BYTES + 17)
KEY = "team/a b/data/r-1_input_1.png"
AT = f"/logs/{KEY}"


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def put(server: S3Server, body: bytes = BODY, key: str = KEY) -> None:
    async def main() -> None:
        config = S3DeliveryConfig(endpoint_url=server.url)
        environ = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        buckets = S3Buckets(config, environ, clock=utc_now)
        try:
            await buckets.put(
                Delivered(
                    place=Place("bucket", "logs"),
                    account_id=ACCOUNT,
                    region=REGION,
                    key=key,
                    body=body,
                )
            )
        finally:
            await buckets.aclose()

    asyncio.run(main())


def parts(server: S3Server) -> list[int]:
    """The numbers of those that were sent."""
    return [int(found[1]) for found in map(PART.match, server.lines) if found]


def test_a_long_object_goes_in_parts_and_arrives_whole(server: S3Server) -> None:
    put(server)

    assert parts(server) == [1, 2, 3]
    assert server.bucket.objects == {AT: BODY}
    assert server.bucket.uploads == {}


def test_an_object_of_one_part_goes_by_itself(server: S3Server) -> None:
    put(server, BODY[:PART_BYTES])

    assert [line.split()[0] for line in server.lines] == ["PUT"]
    assert server.bucket.objects == {AT: BODY[:PART_BYTES]}


@pytest.mark.parametrize("does", ["refuses", "drops"])
def test_a_part_that_fails_is_sent_again(server: S3Server, does: str) -> None:
    server.faults = [Fault("partNumber=2", does, times=PART_TRIES - 1)]

    put(server)

    assert parts(server) == [1, *[2] * PART_TRIES, 3]
    assert server.bucket.objects == {AT: BODY}


@pytest.mark.parametrize("line", ["partNumber=3", "POST .*uploadId=", "POST .*uploads="])
def test_what_fails_for_longer_leaves_no_parts_behind(server: S3Server, line: str) -> None:
    server.faults = [Fault(line, times=PART_TRIES)]

    with pytest.raises(UndeliveredError, match="503 SlowDown"):
        put(server)

    assert (server.bucket.objects, server.bucket.uploads) == ({}, {})


def test_what_a_killed_server_left_of_an_object_is_aborted_when_it_is_sent_again(
    server: S3Server,
) -> None:
    others = {f"{AT}.other 7": {1: b"x"}, "/logs/team/else 8": {1: b"y"}}
    server.bucket.uploads = {f"{AT} 5": {1: BODY[:PART_BYTES]}, **others, f"{AT} 6": {}}

    put(server)

    assert server.bucket.objects == {AT: BODY}
    assert server.bucket.uploads == others


def test_who_may_not_list_uploads_delivers_all_the_same(server: S3Server) -> None:
    server.faults = [Fault("GET .*uploads=")]

    put(server)

    assert server.bucket.objects == {AT: BODY}


def test_an_answer_that_is_lost_after_all_was_done_makes_no_second_object(
    server: S3Server,
) -> None:
    server.faults = [Fault("POST .*uploadId=", "loses")]

    with pytest.raises(UndeliveredError):
        put(server)
    assert server.bucket.objects == {AT: BODY}
    put(server)

    assert server.bucket.objects == {AT: BODY}
    assert server.bucket.uploads == {}
