"""Tags on application inference profiles and provisioned models."""

from outcrop.control.new_resources import TAGS_PER_RESOURCE, tags_by_key, too_many_tags
from outcrop.iam.caller import Caller
from outcrop.store.errors import ResourceGoneError, TooManyTagsError
from outcrop.store.tags import Tags as TagRecords
from outcrop.wire.arn import Arn
from outcrop.wire.errors import ResourceNotFoundException
from outcrop.wire.shapes.bedrock import (
    ListTagsForResourceRequest,
    ListTagsForResourceResponse,
    Tag,
    TagResourceRequest,
    TagResourceResponse,
    UntagResourceRequest,
    UntagResourceResponse,
)

TAGGABLE = frozenset({"application-inference-profile", "provisioned-model"})


class Tags:
    def __init__(self, records: TagRecords) -> None:
        self._records = records

    async def tag_resource(
        self, caller: Caller, request: TagResourceRequest
    ) -> TagResourceResponse:
        arn = _own(caller, request.resource_arn)
        tags = tags_by_key(request.tags, arn)
        try:
            await self._records.put(arn, tags, limit=TAGS_PER_RESOURCE)
        except TooManyTagsError:
            raise too_many_tags(arn) from None
        except ResourceGoneError:
            raise _not_found(arn) from None
        return TagResourceResponse()

    async def untag_resource(
        self, caller: Caller, request: UntagResourceRequest
    ) -> UntagResourceResponse:
        arn = _own(caller, request.resource_arn)
        try:
            await self._records.remove(arn, request.tag_keys)
        except ResourceGoneError:
            raise _not_found(arn) from None
        return UntagResourceResponse()

    async def list_tags_for_resource(
        self, caller: Caller, request: ListTagsForResourceRequest
    ) -> ListTagsForResourceResponse:
        arn = _own(caller, request.resource_arn)
        try:
            tags = await self._records.of(arn)
        except ResourceGoneError:
            raise _not_found(arn) from None
        return ListTagsForResourceResponse(tags=[Tag(key=key, value=value) for key, value in tags])


def _own(caller: Caller, resource_arn: str) -> str:
    """Raises ResourceNotFoundException for what the caller cannot have tagged in this Region."""
    arn = Arn.parse(resource_arn)
    if (arn.partition, arn.region, arn.account_id) != (
        caller.partition,
        caller.region,
        caller.account_id,
    ) or arn.resource_type not in TAGGABLE:
        raise _not_found(resource_arn)
    return resource_arn


def _not_found(resource_arn: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"Resource not found: {resource_arn}")
