"""Clients over TLS by the local authority: curl, and boto3 with nothing changed but its hosts."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.outcrop_process import OutcropProcess, outcrop_process

pytestmark = pytest.mark.client

NO_EMBEDDED = "[embedded]\nenabled = false\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcropProcess]:
    folder = tmp_path_factory.mktemp("outcrop")
    with outcrop_process(folder, config=NO_EMBEDDED, arguments=("--tls",)) as process:
        yield process


def curl(server: OutcropProcess, *arguments: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    keys = server.credentials
    return subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--write-out", "\n%{http_version} %{http_code}"),
            *("--aws-sigv4", "aws:amz:us-east-1:bedrock"),
            *("--user", f"{keys.access_key_id}:{keys.secret_access_key}"),
            *("--cacert", server.environment()["AWS_CA_BUNDLE"]),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(("version", "spoken"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_speaks_both(server: OutcropProcess, version: str, spoken: str) -> None:
    answer = curl(server, version, f"{server.url}/inference-profiles")

    assert "inferenceProfileSummaries" in answer
    assert answer.endswith(f"\n{spoken} 200")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
@pytest.mark.parametrize("service", ["bedrock", "bedrock-runtime"])
def test_boto3_is_led_here_by_its_hosts_alone(
    server: OutcropProcess, monkeypatch: pytest.MonkeyPatch, service: str, region: str
) -> None:
    asked: list[Any] = []
    resolve = socket.getaddrinfo

    def hosts_line(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        asked.append(host)
        return resolve("127.0.0.1", server.port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hosts_line)
    keys = server.credentials
    client = boto3.client(
        service,
        region_name=region,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        verify=server.environment()["AWS_CA_BUNDLE"],
        config=Config(retries={"total_max_attempts": 1}, ignore_configured_endpoint_urls=True),
    )
    if service == "bedrock":
        answer = client.list_inference_profiles(maxResults=1)
        assert answer["inferenceProfileSummaries"]
    else:
        messages = [{"role": "user", "content": [{"text": "hello"}]}]
        with pytest.raises(client.exceptions.ClientError) as refused:
            client.converse(modelId="no.such-model", messages=messages)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert set(asked) == {f"{service}.{region}.amazonaws.com"}


def test_the_unbelieving_are_not_answered(server: OutcropProcess) -> None:
    context = ssl.create_default_context()

    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="localhost")
