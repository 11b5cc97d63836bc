"""What each operation of the control plane touches, and so has to be allowed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from outcrop.iam.access import Needs, Resource
from outcrop.iam.actions import (
    APPLICATION_PROFILE,
    CUSTOM_MODEL,
    MODEL,
    PROVISIONED,
    SYSTEM_PROFILE,
)
from outcrop.iam.caller import Caller
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.store.catalogue import Catalogue
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.wire.arn import Arn
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    CreateProvisionedModelThroughputRequest,
    DeleteInferenceProfileRequest,
    DeleteProvisionedModelThroughputRequest,
    GetFoundationModelRequest,
    GetInferenceProfileRequest,
    GetProvisionedModelThroughputRequest,
    ListInferenceProfilesRequest,
    ListProvisionedModelThroughputsRequest,
    ListTagsForResourceRequest,
    Tag,
    TagResourceRequest,
    UntagResourceRequest,
    UpdateProvisionedModelThroughputRequest,
)

TagsOf = Callable[[str], Awaitable[Sequence[tuple[str, str]]]]
"""By ARN; none for what is not there."""


class Touched:
    """Names become ARNs, of what is there and of what is not: nobody learns which it is."""

    def __init__(
        self,
        catalogue: Catalogue,
        provisioned: ProvisionedModelThroughputs,
        tags_of: TagsOf,
        policies: ResourcePolicies,
    ) -> None:
        self._catalogue = catalogue
        self._provisioned = provisioned
        self._tags_of = tags_of
        self._policies = policies

    async def profiles(self, caller: Caller, _: ListInferenceProfilesRequest) -> Needs:
        return _all_of(caller, SYSTEM_PROFILE)

    async def profile(
        self, caller: Caller, request: GetInferenceProfileRequest | DeleteInferenceProfileRequest
    ) -> Needs:
        identifier = request.inference_profile_identifier
        return await self._one(caller, self._profile_arn(caller, identifier))

    async def new_profile(self, caller: Caller, request: CreateInferenceProfileRequest) -> Needs:
        source = request.model_source.copy_from
        new = Resource(arn=_own(caller, APPLICATION_PROFILE, "*"), is_created=True)
        copied = [Resource(arn=source)] if source and _is_arn(source) else []
        return Needs(resources=[*copied, new], request_tags=_by_key(request.tags))

    async def provisioned_models(
        self, caller: Caller, _: ListProvisionedModelThroughputsRequest
    ) -> Needs:
        return _all_of(caller, PROVISIONED)

    async def provisioned_model(
        self,
        caller: Caller,
        request: GetProvisionedModelThroughputRequest | DeleteProvisionedModelThroughputRequest,
    ) -> Needs:
        arn = await self._provisioned_arn(caller, request.provisioned_model_id)
        return await self._one(caller, arn)

    async def new_provisioned_model(
        self, caller: Caller, request: CreateProvisionedModelThroughputRequest
    ) -> Needs:
        model = Resource(arn=self._model_arn(caller, request.model_id))
        new = Resource(arn=_own(caller, PROVISIONED, "*"), is_created=True)
        return Needs(resources=[model, new], request_tags=_by_key(request.tags))

    async def updated_provisioned_model(
        self, caller: Caller, request: UpdateProvisionedModelThroughputRequest
    ) -> Needs:
        updated = await self._provisioned_arn(caller, request.provisioned_model_id)
        desired = request.desired_model_id
        models = [Resource(arn=self._model_arn(caller, desired))] if desired else []
        return Needs(resources=[await self._resource(caller, updated), *models])

    async def model(self, caller: Caller, request: GetFoundationModelRequest) -> Needs:
        return Needs(resources=[Resource(arn=self._model_arn(caller, request.model_identifier))])

    async def tagged(self, caller: Caller, request: TagResourceRequest) -> Needs:
        resource = await self._resource(caller, request.resource_arn)
        return Needs(resources=[resource], request_tags=_by_key(request.tags))

    async def untagged(self, caller: Caller, request: UntagResourceRequest) -> Needs:
        resource = await self._resource(caller, request.resource_arn)
        return Needs(resources=[resource], tag_keys=request.tag_keys)

    async def with_tags(self, caller: Caller, request: ListTagsForResourceRequest) -> Needs:
        return await self._one(caller, request.resource_arn)

    async def _one(self, caller: Caller, arn: str) -> Needs:
        return Needs(resources=[await self._resource(caller, arn)])

    async def _resource(self, caller: Caller, arn: str) -> Resource:
        tags = dict(await self._tags_of(arn))
        return Resource(arn=arn, tags=tags, policy=await self._policies.at(caller, arn))

    def _profile_arn(self, caller: Caller, identifier: str) -> str:
        if _is_arn(identifier):
            return identifier
        system = self._catalogue.system_profile(caller.region, identifier)
        return _own(caller, SYSTEM_PROFILE if system else APPLICATION_PROFILE, identifier)

    async def _provisioned_arn(self, caller: Caller, identifier: str) -> str:
        if _is_arn(identifier):
            return identifier
        found = await self._provisioned.find(caller.account_id, caller.region, name=identifier)
        return found.provisioned_model_arn if found else _own(caller, PROVISIONED, identifier)

    def _model_arn(self, caller: Caller, identifier: str) -> str:
        if _is_arn(identifier):
            # Without a Region it is this one: another spelling must not escape a denial.
            return identifier.replace(":bedrock:::", f":bedrock:{caller.region}::")
        custom = self._catalogue.custom_model(caller.region, identifier)
        if custom is not None and custom.custom_model_name == identifier:
            return custom.arn(caller.partition, caller.region, caller.account_id)
        if f"{CUSTOM_MODEL}/" in identifier:
            return _own(caller, CUSTOM_MODEL, identifier.partition("/")[2])
        return f"arn:{caller.partition}:bedrock:{caller.region}::{MODEL}/{identifier}"


def _all_of(caller: Caller, resource_type: str) -> Needs:
    """Of a listing. Its reference has no resource for it, but Amazon's denials name this one."""
    return Needs(resources=(Resource(arn=_own(caller, resource_type, "*")),))


def _own(caller: Caller, resource_type: str, resource_id: str) -> str:
    region, account_id = caller.region, caller.account_id
    return f"arn:{caller.partition}:bedrock:{region}:{account_id}:{resource_type}/{resource_id}"


def _is_arn(text: str) -> bool:
    try:
        Arn.parse(text)
    except ValueError:
        return False
    return True


def _by_key(tags: Sequence[Tag] | None) -> Mapping[str, str]:
    return {tag.key: tag.value for tag in tags or ()}
