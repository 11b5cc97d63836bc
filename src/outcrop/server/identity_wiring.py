"""Who calls and may, assembled: keys, directory, authenticator, STS, policies at resources."""

import asyncio
import logging
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from outcrop.control.resource_policies import SharedResources
from outcrop.iam.access import nothing
from outcrop.iam.access_keys import ensure_root_access_key
from outcrop.iam.administration import RefusedError
from outcrop.iam.authenticator import Authenticator, Identified
from outcrop.iam.caller import Caller
from outcrop.iam.config import AccountConfig
from outcrop.iam.declaration import Declaration, check_declaration, declare, read_declaration
from outcrop.iam.directory import Directory
from outcrop.iam.policy.context import Environment
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.iam.sealed_keys import SealedKeys, shared_key
from outcrop.iam.sealing_keys import ensure_sealer
from outcrop.iam.temporary_credentials import TemporaryCredentials
from outcrop.iam.web_identity import WebIdentities
from outcrop.reporting.sts import Sts, get_caller_identity
from outcrop.server.app import App
from outcrop.server.config import Config, ConfigurationError
from outcrop.server.throttle import AuthenticationThrottle
from outcrop.store.access_keys import AccessKeys
from outcrop.store.errors import StoreError
from outcrop.store.store import Store
from outcrop.wire.shapes import bedrock, sts
from outcrop.wire.timestamps import Clock

NOTE_USES_EVERY_S = 60

_log = logging.getLogger(__name__)


class Declaring:
    """Accounts as the configuration has them, at the start and again."""

    def __init__(self, store: Store, keys: SealedKeys, clock: Clock) -> None:
        self._identities = store.identities
        self._keys = keys
        self._clock = clock

    def read(self, accounts: Sequence[AccountConfig]) -> Declaration:
        """Raises ConfigurationError for a secret that is not where it should be."""
        with _as_configuration():
            return read_declaration(accounts, os.environ, self._clock)

    async def check(self, declaration: Declaration) -> None:
        """Raises ConfigurationError where `follow` would; changes nothing."""
        with _as_configuration():
            await check_declaration(self._identities, self._keys, declaration, self._clock)

    async def follow(self, declaration: Declaration) -> None:
        """Raises ConfigurationError, and then nothing has changed."""
        with _as_configuration():
            await declare(self._identities, self._keys, declaration, self._clock)


@contextmanager
def _as_configuration() -> Generator[None]:
    try:
        yield
    except RefusedError as error:
        raise ConfigurationError(str(error)) from error


class Identity(NamedTuple):
    directory: Directory
    temporary: TemporaryCredentials
    authenticator: Authenticator
    policies: ResourcePolicies
    declaring: Declaring


async def open_identity(store: Store, config: Config, *, clock: Clock) -> Identity:
    """Raises ConfigurationError, SealError or RootAccessKeyError."""
    sealer = ensure_sealer(config.state, os.environ)
    keys = SealedKeys(store.access_keys, sealer)
    await keys.reseal()
    await ensure_root_access_key(keys, config.state, clock)
    declaring = Declaring(store, keys, clock)
    await declaring.follow(declaring.read(config.accounts))
    directory = Directory(store.identities, keys)
    temporary = TemporaryCredentials(await shared_key(store.secrets, sealer, "session tokens"))
    authenticator = Authenticator(directory, clock, temporary=temporary)
    policies = ResourcePolicies(store.resource_policies, lambda: authenticator.version)
    return Identity(directory, temporary, authenticator, policies, declaring)


def wire_sts(
    app: App,
    identity: Identity,
    throttle: AuthenticationThrottle[Identified],
    *,
    region: str,
    clock: Clock,
) -> None:
    service = Sts(
        identity.directory,
        identity.temporary,
        WebIdentities(identity.directory, clock),
        region=region,
        clock=clock,
    )

    async def with_web_identity(
        environment: Environment,
        request: sts.AssumeRoleWithWebIdentityRequest,
        identified: Callable[[Caller], None],
    ) -> sts.AssumeRoleWithWebIdentityResponse:
        """Its token is all that says who asks: bad ones are limited as bad signatures are."""
        return await throttle.attempt(
            environment.source_ip or "",
            lambda: sha256(request.web_identity_token.encode()).digest(),
            lambda: service.assume_role_with_web_identity(environment, request, identified),
        )

    app.serve_rpc(sts.ASSUME_ROLE, service.assume_role, resources=service.assumed)
    app.serve_unsigned(sts.ASSUME_ROLE_WITH_WEB_IDENTITY, with_web_identity)
    app.serve_rpc(sts.GET_SESSION_TOKEN, service.get_session_token, resources=nothing)
    app.serve_rpc(sts.GET_CALLER_IDENTITY, get_caller_identity, resources=nothing)


def wire_policies(app: App, identity: Identity, store: Store) -> None:
    shared = SharedResources(
        store.resource_policies,
        identity.policies,
        tags_of=store.tags.current,
        changed=identity.authenticator.forget,
    )
    app.serve(bedrock.PUT_RESOURCE_POLICY, shared.put_resource_policy, resources=shared.touched)
    app.serve(bedrock.GET_RESOURCE_POLICY, shared.get_resource_policy, resources=shared.touched)
    app.serve(
        bedrock.DELETE_RESOURCE_POLICY, shared.delete_resource_policy, resources=shared.touched
    )


async def note_uses(authenticator: Authenticator, keys: AccessKeys) -> None:
    """When keys were last used: one transaction a minute, however many requests there are."""
    while True:
        await asyncio.sleep(NOTE_USES_EVERY_S)
        used = authenticator.take_used()
        try:
            if used:
                await keys.note_used(used)
        except StoreError as error:
            _log.warning("when keys were last used could not be stored: %s", error)
