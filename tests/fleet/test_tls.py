"""HTTPS towards model servers: whom we believe, and who we say we are."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.member import model_server, set_up
from outcrop.fleet.model_server import Call
from outcrop.fleet.tls import tls_of
from tests.fakes.certificates import Certificates
from tests.fakes.model_server import Answers, FakeModelServer, StallsAfter

pytestmark = pytest.mark.usefixtures("either_loop")

CALL = Call("/chat/completions", b"{}")


def config(url: str = "https://gpu/v1", **tls: Any) -> ModelServerConfig:
    settings = {"name": "gpu", "url": url, "models": {"a": "b"}, "tls": tls}
    return msgspec.convert(settings, ModelServerConfig)


def answer_over(context: ssl.SSLContext, *, calls: int = 1, **tls: Any) -> tuple[list[bytes], int]:
    """What calls hear from a server with that certificate, and how many connections they took."""

    async def main() -> tuple[list[bytes], int]:
        async with FakeModelServer(Answers([b"hel", b"lo"]), tls=context) as fake:
            server = model_server(set_up(config(fake.url, **tls), {}))
            answers = [await server.ask(CALL) for _ in range(calls)]
            await server.aclose()
            return answers, fake.connections

    return asyncio.run(main())


def test_a_server_of_a_trusted_authority_answers_over_one_connection(
    certificates: Certificates,
) -> None:
    answers, connections = answer_over(certificates.server(), calls=3, ca_file=certificates.ca_file)

    assert (answers, connections) == ([b"hello"] * 3, 1)


def test_a_certificate_of_an_unknown_authority_is_not_believed(certificates: Certificates) -> None:
    with pytest.raises(ServerFailureError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        answer_over(certificates.server())

    assert caught.value.kind is FailureKind.REFUSED


def test_a_certificate_for_another_name_is_not_believed(certificates: Certificates) -> None:
    with pytest.raises(ServerFailureError, match="CERTIFICATE_VERIFY_FAILED"):
        answer_over(certificates.server(other_name=True), ca_file=certificates.ca_file)


def test_only_one_who_says_so_believes_everybody(certificates: Certificates) -> None:
    answers, _ = answer_over(certificates.server(other_name=True), insecure_skip_verify=True)

    assert answers == [b"hello"]


def test_a_server_that_asks_who_we_are_is_told(certificates: Certificates) -> None:
    context = certificates.server(asks_for_client=True)

    answers, _ = answer_over(
        context,
        ca_file=certificates.ca_file,
        certificate_file=certificates.client_file,
        key_file=certificates.client_key_file,
    )

    assert answers == [b"hello"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_is_not_told_who_we_are_refuses(
    certificates: Certificates, version: ssl.TLSVersion
) -> None:
    context = certificates.server(asks_for_client=True)
    context.maximum_version = version

    with pytest.raises(ServerFailureError) as caught:
        answer_over(context, ca_file=certificates.ca_file)

    # With TLS 1.3 the refusal comes when we have begun to speak already.
    assert caught.value.kind in {FailureKind.REFUSED, FailureKind.BROKE_OFF}
    assert caught.value.another_may_answer


def test_the_server_is_told_the_name_we_mean(certificates: Certificates) -> None:
    named: list[str | None] = []
    context = certificates.server()
    context.sni_callback = lambda _socket, name, _context: named.append(name)

    async def main() -> None:
        async with FakeModelServer(Answers([b"x"]), tls=context) as fake:
            url = fake.url.replace("127.0.0.1", "localhost")
            server = model_server(set_up(config(url, ca_file=certificates.ca_file), {}))
            await server.ask(CALL)
            await server.aclose()

    asyncio.run(main())

    assert named == ["localhost"]


def test_only_http_1_is_offered(certificates: Certificates) -> None:
    context = certificates.server()
    context.set_alpn_protocols(["h2", "http/1.1"])

    assert answer_over(context, ca_file=certificates.ca_file)[0] == [b"hello"]


def test_old_versions_of_tls_are_not_spoken() -> None:
    context = tls_of(config())

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_cancelling_hangs_up_over_tls_too(certificates: Certificates) -> None:
    async def main() -> None:
        script = StallsAfter([b"one"])
        async with FakeModelServer(script, tls=certificates.server()) as fake:
            server = model_server(set_up(config(fake.url, ca_file=certificates.ca_file), {}))
            async with server.open(CALL) as chunks:
                assert await anext(chunks) == b"one"
            async with asyncio.timeout(0.1):
                await fake.left.wait()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["ca_file"], r"gpu: tls.ca_file cannot be used: /nowhere: "),
        (["certificate_file"], r"gpu: tls.certificate_file cannot be used: /nowhere: "),
    ],
)
def test_a_file_that_cannot_be_used_is_named(keys: Sequence[str], complaint: str) -> None:
    with pytest.raises(InvalidFleetConfigError, match=complaint):
        set_up(config(**dict.fromkeys(keys, "/nowhere")), {})
