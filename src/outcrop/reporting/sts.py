"""STS: who calls, and credentials for a time."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct

from outcrop.iam.access import AuthorizationRequest, Needs, Resource, authorized
from outcrop.iam.caller import Caller
from outcrop.iam.directory import Directory, name_of, parsed, role_arn
from outcrop.iam.managed_policies import document_of
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.document import parse
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import AttachedPolicy, PolicySet
from outcrop.iam.temporary_credentials import (
    Session,
    TemporaryCredentials,
    new_access_key_id,
    new_secret_access_key,
)
from outcrop.iam.web_identity import Identity, WebIdentities
from outcrop.store.identity_records import RoleRecord
from outcrop.wire.arn import Arn, partition_of
from outcrop.wire.errors import AccessDeniedException, ValidationException
from outcrop.wire.shapes.sts import (
    AssumedRoleUser,
    AssumeRoleRequest,
    AssumeRoleResponse,
    AssumeRoleWithWebIdentityRequest,
    AssumeRoleWithWebIdentityResponse,
    Credentials,
    GetCallerIdentityRequest,
    GetCallerIdentityResponse,
    GetSessionTokenRequest,
    GetSessionTokenResponse,
    PolicyDescriptorType,
    Tag,
)
from outcrop.wire.timestamps import Clock

ROLE_SESSION_S, LONGEST_CHAINED_S = 3_600, 3_600
USER_SESSION_S, LONGEST_ROOT_S = 43_200, 3_600
MOST_MANAGED = 10


class _Given(Struct, frozen=True, kw_only=True):
    """What a session is given besides its role."""

    tags: Mapping[str, str] = {}
    transitive: Sequence[str] = ()
    source_identity: str | None = None
    federated_provider: str | None = None


async def get_caller_identity(
    caller: Caller, _: GetCallerIdentityRequest
) -> GetCallerIdentityResponse:
    return GetCallerIdentityResponse(
        user_id=caller.user_id, account=caller.account_id, arn=caller.arn
    )


class Sts:
    def __init__(
        self,
        directory: Directory,
        temporary: TemporaryCredentials,
        web_identities: WebIdentities,
        *,
        region: str,
        clock: Clock,
    ) -> None:
        """`region`: of requests that nobody signs."""
        self._directory = directory
        self._temporary = temporary
        self._web_identities = web_identities
        self._region = region
        self._clock = clock

    async def assumed(self, caller: Caller, request: AssumeRoleRequest) -> Needs:
        """What AssumeRole has to be allowed: by the caller's policies and by the role's own."""
        role = await self._role(request.role_arn)
        if role is None:
            raise _not_authorized(caller, request.role_arn)
        tags = _by_key(request.tags)
        keys: dict[str, str | tuple[str, ...]] = {"sts:rolesessionname": request.role_session_name}
        if request.external_id:
            keys["sts:externalid"] = request.external_id
        if request.source_identity:
            keys["sts:sourceidentity"] = request.source_identity
        if request.transitive_tag_keys:
            keys["sts:transitivetagkeys"] = tuple(request.transitive_tag_keys)
        besides = ["sts:TagSession"] if tags else []
        besides += ["sts:SetSourceIdentity"] if request.source_identity else []
        return Needs(
            resources=[_trusting(request.role_arn, role)],
            request_tags=tags,
            keys=keys,
            besides=besides,
        )

    async def assume_role(self, caller: Caller, request: AssumeRoleRequest) -> AssumeRoleResponse:
        if caller.arn.endswith(":root"):
            raise AccessDeniedException("Roles may not be assumed by root accounts.")
        role = await self._role(request.role_arn)
        if role is None:
            raise _not_authorized(caller, request.role_arn)
        chained = caller.is_temporary and ":assumed-role/" in caller.arn
        duration_s = request.duration_seconds or ROLE_SESSION_S
        if chained and duration_s > LONGEST_CHAINED_S:
            raise ValidationException(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed"
                " by role chaining."
            )
        tags = {**_by_key(request.tags), **dict(caller.transitive_tags)}
        session = self._session(
            request,
            role,
            duration_s,
            given=_Given(
                tags=tags,
                transitive=(*dict(caller.transitive_tags), *(request.transitive_tag_keys or ())),
                source_identity=request.source_identity,
            ),
        )
        return AssumeRoleResponse(
            credentials=self._credentials(session),
            assumed_role_user=_assumed(session, caller.partition),
            source_identity=session.source_identity,
        )

    async def assume_role_with_web_identity(
        self,
        environment: Environment,
        request: AssumeRoleWithWebIdentityRequest,
        identified: Callable[[Caller], None],
    ) -> AssumeRoleWithWebIdentityResponse:
        """Nobody signs it: the token says who asks, and `identified` is told."""
        arn = _role_of(request.role_arn)
        role = await self._role(request.role_arn)
        if arn is None or role is None:
            raise _not_authorized_by_token()
        identity = await self._web_identities.verified(arn.account_id, request.web_identity_token)
        caller = self._vouched_for(identity, arn)
        identified(caller)
        _require_trust(caller, identity, role, request, environment)
        session = self._session(
            request,
            role,
            request.duration_seconds or ROLE_SESSION_S,
            given=_Given(federated_provider=caller.arn),
        )
        return AssumeRoleWithWebIdentityResponse(
            credentials=self._credentials(session),
            subject_from_web_identity_token=identity.subject,
            assumed_role_user=_assumed(session, arn.partition),
            provider=caller.arn,
            audience=identity.audience,
        )

    async def get_session_token(
        self, caller: Caller, request: GetSessionTokenRequest
    ) -> GetSessionTokenResponse:
        if caller.is_temporary:
            raise AccessDeniedException("Cannot call GetSessionToken with session credentials")
        is_root = caller.arn.endswith(":root")
        duration_s = request.duration_seconds or USER_SESSION_S
        now = self._clock()
        session = Session(
            kind="root" if is_root else "user",
            account_id=caller.account_id,
            name="" if is_root else caller.arn.rpartition("/")[2],
            identity_id=caller.user_id,
            access_key_id=new_access_key_id("ASIA"),
            secret_access_key=new_secret_access_key(),
            issued_at=now,
            expires_at=now
            + timedelta(seconds=min(duration_s, LONGEST_ROOT_S) if is_root else duration_s),
        )
        return GetSessionTokenResponse(credentials=self._credentials(session))

    async def _role(self, text: str) -> RoleRecord | None:
        """Of exactly that ARN, path included."""
        arn = _role_of(text)
        if arn is None:
            return None
        name = name_of(arn)
        role = await self._directory.role(arn.account_id, name)
        if role is None or text != role_arn(arn.partition, arn.account_id, name, role):
            return None
        return role

    def _vouched_for(self, identity: Identity, role_arn: Arn) -> Caller:
        return Caller(
            account_id=role_arn.account_id,
            arn=identity.provider_arn(role_arn.partition, role_arn.account_id),
            user_id=identity.subject,
            region=self._region,
            partition=role_arn.partition,
            audience=identity.audience,
        )

    def _session(
        self,
        request: AssumeRoleRequest | AssumeRoleWithWebIdentityRequest,
        role: RoleRecord,
        duration_s: int,
        *,
        given: _Given,
    ) -> Session:
        if duration_s > role.max_session_duration_s:
            raise ValidationException(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        if request.policy:
            parse(request.policy, "session policy")
        arn, now = Arn.parse(request.role_arn), self._clock()
        return Session(
            kind="role",
            account_id=arn.account_id,
            name=name_of(arn),
            identity_id=role.role_id,
            access_key_id=new_access_key_id("ASIA"),
            secret_access_key=new_secret_access_key(),
            issued_at=now,
            expires_at=now + timedelta(seconds=duration_s),
            session_name=request.role_session_name,
            policies=(request.policy,) if request.policy else (),
            managed=_managed(arn.account_id, request.policy_arns),
            tags=given.tags,
            transitive=tuple(key for key in dict.fromkeys(given.transitive) if key in given.tags),
            source_identity=given.source_identity,
            federated_provider=given.federated_provider,
        )

    def _credentials(self, session: Session) -> Credentials:
        return Credentials(
            access_key_id=session.access_key_id,
            secret_access_key=session.secret_access_key,
            session_token=self._temporary.token(session),
            expiration=session.expires_at.replace(microsecond=0),
        )


def _role_of(text: str) -> Arn | None:
    try:
        arn = Arn.parse(text)
    except ValueError:
        return None
    named = arn.service == "iam" and not arn.region and arn.resource_type == "role"
    return arn if named else None


def _require_trust(
    caller: Caller,
    identity: Identity,
    role: RoleRecord,
    request: AssumeRoleWithWebIdentityRequest,
    environment: Environment,
) -> None:
    """Only the role's trust policy speaks of whom an issuer vouches for."""
    asked = AuthorizationRequest(
        operation="AssumeRoleWithWebIdentity",
        environment=environment,
        resources=[_trusting(request.role_arn, role)],
        keys={**identity.keys, "sts:rolesessionname": request.role_session_name},
    )
    if not authorized(asked, Authorizer(Principal(caller=caller), PolicySet())).allowed:
        raise _not_authorized_by_token()


def _trusting(text: str, role: RoleRecord) -> Resource:
    policy = parsed(role.trust_policy, "role trust policy")
    return Resource(arn=text, tags=role.tags, policy=AttachedPolicy(name="trust", policy=policy))


def _assumed(session: Session, partition: str) -> AssumedRoleUser:
    return AssumedRoleUser(
        assumed_role_id=f"{session.identity_id}:{session.session_name}",
        arn=f"arn:{partition}:sts::{session.account_id}:assumed-role/{session.assumed}",
    )


def _by_key(tags: Sequence[Tag] | None) -> Mapping[str, str]:
    by_key = {tag.key: tag.value for tag in tags or ()}
    if len({key.lower() for key in by_key}) != len(tags or ()):
        raise ValidationException(
            "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        )
    if any(key.lower().startswith("aws:") for key in by_key):
        raise ValidationException("Tag keys beginning with aws: are reserved.")
    return by_key


def _managed(account_id: str, given: Sequence[PolicyDescriptorType] | None) -> tuple[str, ...]:
    """Names of the role's account's own policies, and ARNs of AWS's."""
    names: list[str] = []
    for descriptor in given or ():
        if descriptor.arn and document_of(descriptor.arn) is not None:
            names.append(descriptor.arn)
            continue
        prefix, slash, name = (descriptor.arn or "").partition(":policy/")
        if not slash or prefix.split(":")[1:] != [partition_of(""), "iam", "", account_id]:
            raise ValidationException(f"ARN {descriptor.arn} is not valid.")
        names.append(name)
    if len(names) > MOST_MANAGED:
        raise ValidationException(f"A session has {MOST_MANAGED} managed policies at most.")
    return tuple(names)


def _not_authorized(caller: Caller, resource: str) -> AccessDeniedException:
    """Of a role that is not there: nobody learns that it is not."""
    return AccessDeniedException(
        f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {resource}"
    )


def _not_authorized_by_token() -> AccessDeniedException:
    return AccessDeniedException("Not authorized to perform sts:AssumeRoleWithWebIdentity")
