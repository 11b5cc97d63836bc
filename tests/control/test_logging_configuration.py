"""Put, Get and Delete of an account's logging configuration, and what Put finds out."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, convert, structs

from outcrop.control.logging_configuration import LoggingConfiguration
from outcrop.metering.config import InvocationLoggingConfig
from outcrop.metering.delivery.destinations import destinations
from outcrop.metering.invocation_log import InvocationLog
from outcrop.server.clock import utc_now
from outcrop.store.store import open_store
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock import (
    DeleteModelInvocationLoggingConfigurationRequest,
    GetModelInvocationLoggingConfigurationRequest,
    LoggingConfig,
    PutModelInvocationLoggingConfigurationRequest,
)
from tests.control.world import CALLER
from tests.runtime.requests import invocation

S3 = {"bucketName": "logs", "keyPrefix": "team"}
ROLE = "arn:aws:iam::111122223333:role/logs"
CHECK = "AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check"


class World(Struct):
    configuration: LoggingConfiguration
    log: InvocationLog

    async def put(self, **members: Any) -> None:
        config = convert(members, LoggingConfig)
        request = PutModelInvocationLoggingConfigurationRequest(logging_config=config)
        await self.configuration.put_model_invocation_logging_configuration(CALLER, request)

    async def get(self, region: str = "us-east-1") -> LoggingConfig | None:
        caller = structs.replace(CALLER, region=region)
        answer = await self.configuration.get_model_invocation_logging_configuration(
            caller, GetModelInvocationLoggingConfigurationRequest()
        )
        return answer.logging_config

    def logs(self) -> bool:
        """Whether a call that begins now is logged."""
        made = invocation()
        self.log.begin(made, b"{}")
        return made.logged is not None


@asynccontextmanager
async def world(state: Path, /, **config: Any) -> AsyncGenerator[World]:
    settings = InvocationLoggingConfig(**config)
    async with open_store(state / "outcrop.sqlite3", clock=utc_now) as store:
        log = InvocationLog(store.logging_configurations)
        to = destinations(settings, {}, clock=utc_now)
        yield World(LoggingConfiguration(store.logging_configurations, log, to), log)


def test_what_is_put_is_got_in_its_region_and_calls_are_logged(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, folder=tmp_path / "buckets") as here:
            assert await here.get() is None
            assert not here.logs()
            await here.put(s3Config=S3, textDataDeliveryEnabled=True)
            assert await here.get() == convert(
                {"s3Config": S3, "textDataDeliveryEnabled": True}, LoggingConfig
            )
            assert await here.get("eu-west-1") is None
            assert here.logs()
            await here.put(s3Config={"bucketName": "other"})
            assert await here.get() == convert({"s3Config": {"bucketName": "other"}}, LoggingConfig)

            for _ in range(2):
                request = DeleteModelInvocationLoggingConfigurationRequest()
                await here.configuration.delete_model_invocation_logging_configuration(
                    CALLER, request
                )
            assert await here.get() is None
            assert not here.logs()

    asyncio.run(main())
    assert (tmp_path / "buckets/logs/team" / CHECK).read_bytes() == b""
    assert (tmp_path / "buckets/other" / CHECK).exists()


def refused(folder: Path, config: dict[str, Any], **members: Any) -> str:
    async def main() -> None:
        async with world(folder, **config) as here:
            try:
                await here.put(**members)
            finally:
                assert await here.get() is None

    with pytest.raises(ValidationException) as refusal:
        asyncio.run(main())
    return refusal.value.message


def test_without_a_destination_it_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {}, textDataDeliveryEnabled=True).startswith("At least one of")


def test_what_the_operator_has_not_mapped_is_refused(tmp_path: Path) -> None:
    groups = {"logGroupName": "/bedrock", "roleArn": ROLE}

    assert "invocation_logging.folder" in refused(tmp_path, {}, s3Config=S3)
    assert "has no CloudWatch Logs" in refused(tmp_path, {}, cloudWatchConfig=groups)


def test_a_log_group_may_be_a_folder(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, cloudwatch_folder=tmp_path / "groups") as here:
            await here.put(cloudWatchConfig={"logGroupName": "/bedrock/x", "roleArn": ROLE})
            assert here.logs()

    asyncio.run(main())
    stream = "111122223333/us-east-1/bedrock/x/aws/bedrock/modelinvocations"
    assert (tmp_path / "groups" / stream / "amazon-bedrock-logs-permission-check").exists()


@pytest.mark.parametrize(
    "s3",
    [{"bucketName": "../x"}, {"bucketName": "a/b"}, {"bucketName": "logs", "keyPrefix": "../"}],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, s3: dict[str, str]) -> None:
    config = {"folder": tmp_path / "deep" / "buckets"}

    assert refused(tmp_path, config, s3Config=s3).startswith(
        "Failed to validate permissions for bucket:"
    )
    assert not (tmp_path / "deep").exists()


def test_a_bucket_that_cannot_be_written_is_refused_in_amazons_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    message = refused(tmp_path, {"folder": tmp_path / "file"}, s3Config=S3)

    assert message.startswith(
        "Failed to validate permissions for bucket: logs, with prefix: team."
        " Verify the S3 bucket policy is correct."
    )


def test_a_log_group_is_refused_in_amazons_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    groups = {"logGroupName": "/bedrock", "roleArn": ROLE}

    message = refused(tmp_path, {"cloudwatch_folder": tmp_path / "file"}, cloudWatchConfig=groups)

    assert message.startswith(
        f"Failed to validate permissions for log group: /bedrock, with role: {ROLE}."
        " Verify the IAM role permissions are correct."
    )
