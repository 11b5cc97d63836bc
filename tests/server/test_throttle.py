"""Who fails to authenticate too often waits; whoever succeeds does not."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, strategies as some

from outcrop.iam.caller import Caller
from outcrop.server.config import LimitsConfig
from outcrop.server.throttle import (
    MAX_PROVEN,
    MAX_SOURCES,
    AuthenticationThrottle,
    _credential,
)
from outcrop.wire.errors import (
    AwsError,
    InvalidIdentityTokenException,
    ServiceUnavailableException,
    ThrottlingException,
    UnrecognizedClientException,
)
from outcrop.wire.http import HttpRequest
from tests.clocks import FakeClock
from tests.outcrop_process import outcrop_process
from tests.server.http2_wire import http2
from tests.server.wire import GET, Answer, ask

CALLER = Caller(
    account_id="123456789012",
    arn="arn:aws:iam::123456789012:root",
    user_id="123456789012",
    region="us-east-1",
    partition="aws",
)


class Door:
    """A throttle in front of an authenticator that knows the keys GOOD…, and counts look-ups."""

    def __init__(self, *, burst: int = 3, per_minute: int = 60) -> None:
        self.clock = FakeClock(datetime(2026, 11, 22, tzinfo=UTC))
        self.looked_up = 0
        self.store_fails = False
        self.held: asyncio.Event | None = None
        limits = LimitsConfig(
            failed_authentications=burst, failed_authentications_per_minute=per_minute
        )
        self.throttle = AuthenticationThrottle(self._authenticate, limits=limits, clock=self.clock)

    async def _authenticate(self, request: HttpRequest, service: str) -> Caller:
        self.looked_up += 1
        if self.held is not None:
            await self.held.wait()
        if self.store_fails:
            raise ServiceUnavailableException("later")
        if "GOOD" not in request.headers["authorization"]:
            raise UnrecognizedClientException("The security token included is invalid.")
        return CALLER

    def asks(self, key: str, source: str = "192.0.2.1") -> AwsError | Caller:
        return asyncio.run(self.asks_now(key, source))

    async def asks_now(self, key: str, source: str = "192.0.2.1") -> AwsError | Caller:
        headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={key}, Signature=1"}
        request = HttpRequest(method="GET", raw_path="/", headers=headers, source_address=source)
        try:
            return await self.throttle.authenticate(request, "bedrock")
        except AwsError as error:
            return error

    def fails(self, times: int, source: str = "192.0.2.1") -> None:
        for _ in range(times):
            assert isinstance(self.asks("BAD", source), UnrecognizedClientException)

    def throttles(self, key: str = "BAD", source: str = "192.0.2.1") -> bool:
        return isinstance(self.asks(key, source), ThrottlingException)


def test_beyond_the_limit_no_key_is_looked_up_any_more() -> None:
    door = Door(burst=3)
    door.fails(3)

    refusal = door.asks("BAD")

    assert isinstance(refusal, ThrottlingException)
    assert (refusal.message, refusal.retry_after_s, door.looked_up) == ("Rate exceeded", 1.0, 3)


def test_the_bucket_fills_up_again() -> None:
    door = Door(burst=3, per_minute=60)
    door.fails(3)
    assert door.throttles()

    door.clock.advance(seconds=2)
    door.fails(2)

    assert door.throttles()


def test_success_is_never_counted() -> None:
    door = Door(burst=3)

    assert all(door.asks("GOOD") is CALLER for _ in range(100))
    door.fails(3)


def test_who_was_right_before_is_served_beside_one_who_fails() -> None:
    door = Door(burst=3)
    door.fails(1)
    assert door.asks("GOOD") is CALLER
    door.fails(2)

    assert door.asks("GOOD") is CALLER
    assert door.throttles("BAD")
    assert door.throttles("GOOD2")


def test_other_sources_are_not_limited() -> None:
    door = Door(burst=1)
    door.fails(1)

    assert door.throttles()
    door.fails(1, source="192.0.2.2")


def test_an_ipv6_network_is_one_source() -> None:
    door = Door(burst=2)
    door.fails(1, source="2001:db8:1:2::1")
    door.fails(1, source="2001:db8:1:2:ffff::9")

    assert door.throttles(source="2001:db8:1:2:3:4:5:6")
    door.fails(1, source="2001:db8:1:3::1")


def test_loopback_is_limited_too() -> None:
    door = Door(burst=1)
    door.fails(1, source="127.0.0.1")

    assert door.throttles(source="127.0.0.1")


def test_what_is_not_the_callers_fault_is_not_counted() -> None:
    door = Door(burst=1)
    door.store_fails = True
    for _ in range(3):
        assert isinstance(door.asks("BAD"), ServiceUnavailableException)
    door.store_fails = False

    door.fails(1)


def test_tokens_that_nobody_signs_are_limited_like_signatures() -> None:
    door = Door(burst=3)
    tried: list[str] = []

    async def verify(token: str) -> str:
        tried.append(token)
        if token.startswith("bad"):
            raise InvalidIdentityTokenException("The ID Token provided is not a valid JWT.")
        return token

    def ask(token: str, source: str = "192.0.2.1") -> str:
        try:
            return asyncio.run(door.throttle.attempt(source, token.encode, lambda: verify(token)))
        except AwsError as error:
            return error.name

    assert [ask("bad 1"), ask("good"), ask("bad 2"), ask("bad 3")][1] == "good"

    assert ask("bad 4") == ask("unknown") == "ThrottlingException"
    assert tried[-1] == "bad 3"
    assert ask("good") == "good"
    assert ask("unknown", source="192.0.2.2") == "unknown"
    assert door.throttles("GOOD", source="192.0.2.1")
    door.clock.advance(seconds=1)
    assert ask("unknown") == "unknown"


def test_no_limit_is_a_choice() -> None:
    Door(burst=0).fails(1_000)


def test_memory_is_bounded() -> None:
    door = Door(burst=1)
    for source in _addresses(MAX_SOURCES + 10):
        door.throttle._note(source, UnrecognizedClientException(""))

    assert len(door.throttle._buckets) == MAX_SOURCES


def _addresses(count: int) -> Iterator[str]:
    return (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count))


def test_proven_credentials_of_one_source_are_bounded() -> None:
    door = Door(burst=3)
    door.fails(1)
    for number in range(MAX_PROVEN + 5):
        door.asks(f"GOOD{number}")

    (bucket,) = door.throttle._buckets.values()
    assert len(bucket.proven) == MAX_PROVEN


def test_a_source_that_stopped_failing_is_forgotten() -> None:
    door = Door(burst=2, per_minute=60)
    door.fails(2)
    door.clock.advance(seconds=2)

    assert door.asks("GOOD") is CALLER
    assert not door.throttle._buckets


@given(some.lists(some.floats(0, 30), min_size=1, max_size=60), some.integers(1, 20))
def test_no_more_than_burst_and_rate_are_looked_up(waits: list[float], burst: int) -> None:
    door = Door(burst=burst, per_minute=30)
    passed = 0.0
    for wait in waits:
        door.clock.advance(seconds=wait)
        passed += wait
        door.asks("BAD")

    assert door.looked_up <= burst + passed / 2 + 0.001


@pytest.mark.parametrize(
    "header",
    [{}, {"authorization": ""}, {"authorization": "Credential="}, {"authorization": "é"}],
)
def test_what_presents_no_credential_is_proven_by_nothing(header: dict[str, str]) -> None:
    door = Door(burst=1)
    door.fails(1)
    request = HttpRequest(method="GET", raw_path="/", headers=header, source_address="192.0.2.1")

    with pytest.raises(ThrottlingException):
        asyncio.run(door.throttle.authenticate(request, "bedrock"))


def test_what_fails_together_is_owed() -> None:
    door = Door(burst=2, per_minute=60)
    door.held = asyncio.Event()

    async def together() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(door.asks_now("BAD"))
            await asyncio.sleep(0)
            assert door.held
            door.held.set()

    asyncio.run(together())
    door.held = None

    assert door.looked_up == 10
    door.clock.advance(seconds=2.5)
    assert door.throttles()
    door.clock.advance(seconds=0.5)
    door.fails(1)


def test_what_was_right_is_one_key_for_one_region_on_any_day() -> None:
    door = Door(burst=1)
    door.fails(1)
    bucket = next(iter(door.throttle._buckets.values()))
    bucket.prove(_credential(_presenting("GOOD/20261122/us-east-1/bedrock/aws4_request")))

    assert door.asks("GOOD/20261123/us-east-1/bedrock/aws4_request") is CALLER
    assert door.throttles("GOOD/20261122/eu-west-1/bedrock/aws4_request")
    assert door.throttles("GOOD2/20261122/us-east-1/bedrock/aws4_request")


def test_a_credential_in_the_query_is_the_same() -> None:
    query = "X-Amz-Credential=GOOD%2F20261122%2Fus-east-1%2Fbedrock%2Faws4_request&X-Amz-Date=1"
    presigned = HttpRequest(method="GET", raw_path="/", headers={}, query_string=query)

    assert _credential(presigned) == _credential(
        _presenting("GOOD/20261122/us-east-1/bedrock/aws4_request")
    )


def _presenting(credential: str) -> HttpRequest:
    headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}, Signature=1"}
    return HttpRequest(method="GET", raw_path="/", headers=headers)


@pytest.mark.slow
def test_a_server_throttles_by_the_address_that_a_trusted_proxy_tells(tmp_path: Path) -> None:
    config = (
        'trusted_proxies = ["127.0.0.1"]\n[embedded]\nenabled = false\n'
        "[limits]\nfailed_authentications = 2\nfailed_authentications_per_minute = 1\n"
    )
    with outcrop_process(tmp_path, config=config) as server:

        def listing(source: str) -> Answer:
            forwarded = f"X-Forwarded-For: 9.9.9.9, {source}\r\n\r\n".encode()
            return ask(server.port, GET[:-2] + forwarded)

        assert [listing("192.0.2.1").status for _ in range(3)] == [403, 403, 429]
        refusal = listing("192.0.2.1")
        assert refusal.headers["x-amzn-errortype"].startswith("ThrottlingException:")
        assert refusal.headers["retry-after"] == "60"
        assert refusal.body == b'{"message":"Rate exceeded"}'
        with http2(server.port) as connection:
            headers, _ = connection.answer(
                connection.ask("/inference-profiles", x_forwarded_for="192.0.2.1")
            )
        assert headers[":status"] == "429"
        assert listing("192.0.2.2").status == 403
