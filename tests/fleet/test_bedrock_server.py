import asyncio
from pathlib import Path
from typing import Any

import pytest

from outcrop.fleet.aws_credentials import CredentialsProfile, OperatorsCredentials
from outcrop.fleet.aws_signing import AwsCredentials, signed_headers
from outcrop.fleet.bedrock_server import BedrockServer, Signing, signing_of
from outcrop.fleet.config import (
    AwsConfig,
    InvalidFleetConfigError,
    ModelServerConfig,
    TimeoutsConfig,
)
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import Call, ModelServer
from tests.clocks import FakeClock
from tests.fakes.model_server import Answers, FakeModelServer

CREDENTIALS = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "secret", "token")
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}
CALL = Call("/model/m%3A0/converse-stream", b"{}", {"accept": "application/json"})


def server_at(
    url: str, clock: FakeClock, credentials: OperatorsCredentials = CREDENTIALS
) -> BedrockServer:
    address = Address.parse(url)
    plain = ModelServer("amazon", address, timeouts=TimeoutsConfig())
    return BedrockServer(plain, address, signing=Signing("eu-west-1", credentials), clock=clock)


def config(url: str, **members: Any) -> ModelServerConfig:
    return ModelServerConfig(
        name="amazon", url=url, dialect="bedrock", models={"m": "m"}, **members
    )


def signing_region(url: str, **members: Any) -> str:
    signing = signing_of(config(url, **members), ENVIRON)
    assert signing is not None
    return signing.region


def test_every_call_is_signed_at_its_own_moment() -> None:
    clock = FakeClock()

    async def main() -> FakeModelServer:
        async with FakeModelServer(Answers([b"x"])) as fake:
            server = server_at(fake.url, clock)
            for _ in range(2):
                assert await server.ask(CALL) == b"x"
                clock.advance(minutes=10)
            await server.aclose()
            return fake

    fake = asyncio.run(main())
    first, second = fake.requests

    assert first.path == "/v1/model/m%3A0/converse-stream"
    assert first.headers["accept"] == "application/json"
    clock.advance(minutes=-20)
    expected = signed_headers(
        first.path,
        CALL.body,
        host=first.headers["host"],
        region="eu-west-1",
        credentials=CREDENTIALS,
        now=clock(),
    )
    assert {name: first.headers[name] for name in expected} == expected
    assert first.headers["x-amz-security-token"] == "token"
    assert second.headers["authorization"] != first.headers["authorization"]


def test_a_stream_is_signed_too_and_the_server_keeps_its_name() -> None:
    async def main() -> FakeModelServer:
        async with FakeModelServer(Answers([b"x", b"y"])) as fake:
            server = server_at(fake.url, FakeClock())
            assert (server.name, server.state.name) == ("amazon", "amazon")
            async with server.open(CALL) as chunks:
                assert b"".join([chunk async for chunk in chunks]) == b"xy"
            await server.aclose()
            return fake

    assert asyncio.run(main()).requests[0].headers["authorization"].startswith("AWS4-HMAC-SHA256 ")


def test_what_is_got_is_not_signed() -> None:
    async def main() -> FakeModelServer:
        async with FakeModelServer(Answers([b"{}"])) as fake:
            server = server_at(fake.url, FakeClock())
            assert await server.get("/models") == b"{}"
            await server.aclose()
            return fake

    assert "authorization" not in asyncio.run(main()).requests[0].headers


def test_credentials_that_have_gone_leave_the_call_to_another_server(tmp_path: Path) -> None:
    gone = CredentialsProfile(tmp_path / "credentials", "lab")
    server = server_at("http://127.0.0.1:9/v1", FakeClock(), gone)

    with pytest.raises(ServerFailureError, match="no credentials in the profile lab") as failed:
        asyncio.run(server.ask(CALL))

    assert failed.value.kind is FailureKind.REFUSED
    assert failed.value.another_may_answer


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-0a-1b.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
    ],
)
def test_amazons_hosts_name_their_region(host: str, region: str) -> None:
    assert signing_region(f"https://{host}", region="us-east-1") == region


def test_other_hosts_are_signed_for_the_region_that_the_configuration_names() -> None:
    assert signing_region("http://127.0.0.1:8787", region="us-east-1") == "us-east-1"
    assert (
        signing_region(
            "https://bedrock-runtime.us-west-2.amazonaws.com",
            aws=AwsConfig(signing_region="eu-north-1"),
        )
        == "eu-north-1"
    )


def test_a_region_that_nobody_names_is_asked_for() -> None:
    with pytest.raises(InvalidFleetConfigError, match=r"amazon: .*aws\.signing_region"):
        signing_of(config("http://127.0.0.1:8787"), ENVIRON)


def test_credentials_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(InvalidFleetConfigError, match=r"amazon: .*AWS_ACCESS_KEY_ID is not set"):
        signing_of(config("https://bedrock-runtime.us-west-2.amazonaws.com"), {})


def test_an_api_key_takes_the_place_of_a_signature() -> None:
    assert signing_of(config("http://127.0.0.1:1", api_key_env="AWS_BEARER_TOKEN_BEDROCK"), {}) is (
        None
    )


def test_other_dialects_are_not_signed() -> None:
    other = ModelServerConfig(name="gpu", url="http://127.0.0.1:1", models={"m": "m"})

    assert signing_of(other, ENVIRON) is None
