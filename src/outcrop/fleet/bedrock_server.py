"""Amazon Bedrock as a model server: every call signed anew, in the operator's name."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from outcrop.fleet.aws_credentials import (
    CurrentCredentials,
    OperatorsCredentials,
    operators_credentials,
)
from outcrop.fleet.aws_signing import signed_headers
from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import Call, Calling, ModelServer
from outcrop.fleet.server_state import ServerState
from outcrop.wire.timestamps import Clock

# https://docs.aws.amazon.com/general/latest/gr/bedrock.html; VPC endpoints put a name before it.
_AMAZONS_HOST = re.compile(
    r"(?:.+\.)?bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\."
    r"(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)


class BedrockServer:
    def __init__(
        self,
        server: ModelServer,
        address: Address,
        *,
        signing: "Signing",
        clock: Clock,
    ) -> None:
        self._server = server
        self._address = address
        self._region = signing.region
        self._credentials = CurrentCredentials(signing.credentials)
        self._clock = clock

    @property
    def name(self) -> str:
        return self._server.name

    @property
    def state(self) -> ServerState:
        return self._server.state

    @asynccontextmanager
    async def open(self, call: Calling) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self._server.open(self._signed(call)) as chunks:
            yield chunks

    async def ask(self, call: Calling) -> bytes:
        return await self._server.ask(self._signed(call))

    async def get(self, path: str) -> bytes:
        """Unsigned: Bedrock's runtime has nothing to get."""
        return await self._server.get(path)

    async def aclose(self) -> None:
        await self._server.aclose()

    def _signed(self, call: Calling) -> Call:
        try:
            credentials = self._credentials()
        except InvalidFleetConfigError as error:
            raise ServerFailureError(self.name, FailureKind.REFUSED, str(error)) from error
        signature = signed_headers(
            self._address.base_path + call.path,
            call.body,
            host=self._address.authority,
            region=self._region,
            credentials=credentials,
            now=self._clock(),
        )
        return Call(call.path, call.body, {**call.headers, **signature})


class Signing(Struct, frozen=True):
    """In whose name, and for which Region."""

    region: str
    credentials: OperatorsCredentials


def signing_of(config: ModelServerConfig, environ: Mapping[str, str]) -> Signing | None:
    """None for servers that want no signature, or have an API key in its place.

    Raises InvalidFleetConfigError.
    """
    if config.dialect != "bedrock" or config.api_key_env or config.api_key_file:
        return None
    try:
        return Signing(_region(config), operators_credentials(config.aws, environ))
    except InvalidFleetConfigError as error:
        raise InvalidFleetConfigError(f"model server {config.name}: {error}") from error


def _region(config: ModelServerConfig) -> str:
    amazons = _AMAZONS_HOST.fullmatch(Address.parse(config.url).host)
    region = config.aws.signing_region or (amazons[1] if amazons else config.region)
    if region is None:
        raise InvalidFleetConfigError("its url names no Region: aws.signing_region has to")
    return region
