"""Model invocation logging: where an account's invocations in a Region are logged to."""

import re

from msgspec import json

from outcrop.iam.caller import Caller
from outcrop.metering.delivery.destinations import Destinations
from outcrop.metering.delivery.records import Delivered, Place, log_folder, places, under
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.invocation_log import InvocationLog
from outcrop.store.logging_configurations import LoggingConfigurations
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock import (
    DeleteModelInvocationLoggingConfigurationRequest,
    DeleteModelInvocationLoggingConfigurationResponse,
    GetModelInvocationLoggingConfigurationRequest,
    GetModelInvocationLoggingConfigurationResponse,
    LoggingConfig,
    PutModelInvocationLoggingConfigurationRequest,
    PutModelInvocationLoggingConfigurationResponse,
)

PERMISSION_CHECK = "amazon-bedrock-logs-permission-check"
# "Naming Amazon S3 buckets"; CloudWatch Logs, CreateLogGroup.
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LOG_GROUP = re.compile(r"[.\-_/#A-Za-z0-9]+")


class LoggingConfiguration:
    def __init__(
        self, configurations: LoggingConfigurations, log: InvocationLog, to: Destinations
    ) -> None:
        self._configurations = configurations
        self._log = log
        self._to = to

    async def put_model_invocation_logging_configuration(
        self, caller: Caller, request: PutModelInvocationLoggingConfigurationRequest
    ) -> PutModelInvocationLoggingConfigurationResponse:
        config = request.logging_config
        wanted = list(places(config))
        if not wanted:
            raise ValidationException(
                "At least one of s3Config and cloudWatchConfig must be specified."
            )
        for place, prefix in wanted:
            await self._check(caller, config, place, prefix)
        text = json.encode(config).decode()
        await self._configurations.put(caller.account_id, caller.region, text)
        await self._log.refresh()
        return PutModelInvocationLoggingConfigurationResponse()

    async def get_model_invocation_logging_configuration(
        self, caller: Caller, _: GetModelInvocationLoggingConfigurationRequest
    ) -> GetModelInvocationLoggingConfigurationResponse:
        text = await self._configurations.find(caller.account_id, caller.region)
        if text is None:
            return GetModelInvocationLoggingConfigurationResponse()
        config = json.decode(text, type=LoggingConfig)
        return GetModelInvocationLoggingConfigurationResponse(logging_config=config)

    async def delete_model_invocation_logging_configuration(
        self, caller: Caller, _: DeleteModelInvocationLoggingConfigurationRequest
    ) -> DeleteModelInvocationLoggingConfigurationResponse:
        await self._configurations.delete(caller.account_id, caller.region)
        await self._log.refresh()
        return DeleteModelInvocationLoggingConfigurationResponse()

    async def _check(
        self, caller: Caller, config: LoggingConfig, place: Place, prefix: str
    ) -> None:
        """Writes what Amazon writes to see whether it may. Raises ValidationException."""
        refusal = _refusal(config, place, prefix)
        pattern = _BUCKET if place.kind == "bucket" else _LOG_GROUP
        if not pattern.fullmatch(place.name) or ".." in f"{prefix}/{place.name}".split("/"):
            raise ValidationException(refusal)
        if not self._to.has(place.kind):
            raise ValidationException(_NOWHERE[place.kind])
        folder = (
            under(prefix, caller.account_id)
            if place.kind == "bucket"
            else log_folder(caller.account_id, caller.region, place.name)
        )
        check = Delivered(
            place=place,
            account_id=caller.account_id,
            region=caller.region,
            key=f"{folder}/{PERMISSION_CHECK}",
            body=b"",
        )
        try:
            await self._to.put(check)
        except UndeliveredError as error:
            raise ValidationException(f"{refusal} ({error})") from error


_NOWHERE = {
    "bucket": (
        "This installation delivers nothing to buckets: its operator has to say where they are,"
        " with invocation_logging.s3.endpoint_url or invocation_logging.folder."
    ),
    "log_group": (
        "This installation has no CloudWatch Logs: its operator may say what log groups are,"
        " with invocation_logging.cloudwatch_folder or invocation_logging.cloudwatch_stdout."
    ),
}


def _refusal(config: LoggingConfig, place: Place, prefix: str) -> str:
    if place.kind == "log_group" and config.cloud_watch_config:
        # hashicorp/terraform-provider-aws, invocation_logging_configuration.go, shows the text.
        return (
            f"Failed to validate permissions for log group: {place.name}, with role:"
            f" {config.cloud_watch_config.role_arn}. Verify the IAM role permissions are correct."
        )
    # Seen in part: "Failed to validate permissions for bucket … verify the S3 bucket policy".
    named = f"{place.name}, with prefix: {prefix}" if prefix else place.name
    return (
        f"Failed to validate permissions for bucket: {named}. Verify the S3 bucket policy is"
        " correct."
    )
