"""Inference profiles: named routes from one identifier to models in several Regions."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Literal

import msgspec
from msgspec.structs import replace

from outcrop.control.new_resources import (
    REQUEST_MISMATCH,
    client_token,
    resource_id,
    tags_by_key,
)
from outcrop.iam.caller import Caller
from outcrop.store.catalogue import Catalogue, SystemProfile
from outcrop.store.errors import ClientTokenMismatchError, QuotaReachedError
from outcrop.store.inference_profiles import (
    InferenceProfiles as InferenceProfileRecords,
    Position,
    position_of,
)
from outcrop.store.listed import Listed, as_json
from outcrop.store.records import InferenceProfileRecord
from outcrop.wire.arn import Arn
from outcrop.wire.errors import (
    ConflictException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)
from outcrop.wire.page_tokens import PageTokens
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    CreateInferenceProfileResponse,
    DeleteInferenceProfileRequest,
    DeleteInferenceProfileResponse,
    GetInferenceProfileRequest,
    GetInferenceProfileResponse,
    InferenceProfileModel,
    InferenceProfileSummary,
    ListInferenceProfilesRequest,
    ListInferenceProfilesResponse,
)
from outcrop.wire.timestamps import Clock, to_micros

# Decision: Amazon documents no default; a page without maxResults holds what the largest may.
DEFAULT_PAGE = 1000
# The shape documentation of ResourceNotFoundException; no recording shows another text.
NOT_FOUND = (
    "The specified resource Amazon Resource Name (ARN) was not found. "
    "Check the Amazon Resource Name (ARN) and try your request again."
)


class InferenceProfiles:
    def __init__(
        self,
        records: InferenceProfileRecords,
        catalogue: Catalogue,
        *,
        quota: int,
        list_without_type: Literal["all", "system_defined"],
        page_token_key: bytes,
        clock: Clock,
    ) -> None:
        """`quota`: application profiles per account and Region (Service Quotas L-40EC9882)."""
        self._records = records
        self._catalogue = catalogue
        self._quota = quota
        # Decision: without `type` the page's words hold (all that the caller can use); Amazon was
        # observed to answer SYSTEM_DEFINED alone (aws-cli#9728), which the setting gives.
        self._types_by_default = (
            {"SYSTEM_DEFINED", "APPLICATION"} if list_without_type == "all" else {"SYSTEM_DEFINED"}
        )
        self._clock = clock
        self._tokens: PageTokens[Position] = PageTokens(
            "ListInferenceProfiles", tuple[int, str], key=page_token_key, clock=clock
        )
        self._system: dict[tuple[str, str], _SystemListing] = {}

    async def list_inference_profiles(
        self, caller: Caller, request: ListInferenceProfilesRequest
    ) -> ListInferenceProfilesResponse:
        filters = request.type_equals or ""
        after = request.next_token and self._tokens.open(request.next_token, caller, filters)
        limit = request.max_results or DEFAULT_PAGE
        found = await self._page(caller, request.type_equals, after or None, limit + 1)
        page = found[:limit]
        return ListInferenceProfilesResponse(
            inference_profile_summaries=as_json(page),
            next_token=self._tokens.seal(position_of(page[-1]), caller, filters)
            if len(found) > limit
            else None,
        )

    async def get_inference_profile(
        self, caller: Caller, request: GetInferenceProfileRequest
    ) -> GetInferenceProfileResponse:
        identifier = request.inference_profile_identifier
        system = self._system_profile(caller, identifier)
        summary = (
            _system_summary(system, caller)
            if system
            else _summary(await self._application_profile(caller, identifier))
        )
        return GetInferenceProfileResponse(**msgspec.structs.asdict(summary))

    async def create_inference_profile(
        self, caller: Caller, request: CreateInferenceProfileRequest
    ) -> CreateInferenceProfileResponse:
        record = await self._create(self._new_record(caller, request), request)
        return CreateInferenceProfileResponse(
            inference_profile_arn=record.inference_profile_arn, status="ACTIVE"
        )

    async def delete_inference_profile(
        self, caller: Caller, request: DeleteInferenceProfileRequest
    ) -> DeleteInferenceProfileResponse:
        identifier = request.inference_profile_identifier
        if self._system_profile(caller, identifier):
            # Decision: Amazon documents no error for this (docs/compatibility.md).
            raise ValidationException("A system-defined inference profile can't be deleted.")
        inference_profile_id = _own_id(caller, identifier, "application-inference-profile")
        if not await self._records.delete(caller.account_id, caller.region, inference_profile_id):
            raise ResourceNotFoundException(NOT_FOUND)
        return DeleteInferenceProfileResponse()

    async def _page(
        self, caller: Caller, type_equals: str | None, after: Position | None, limit: int
    ) -> list[Listed]:
        """The next profiles in order: ascending `updatedAt`, then ARN, as observed on Amazon."""
        types = {type_equals} if type_equals else self._types_by_default
        system: list[tuple[Position, Listed]] = []
        if "SYSTEM_DEFINED" in types:
            system = self._system_listing(caller).page(after, limit)
        summaries = [summary for _, summary in system]
        if "APPLICATION" not in types:
            return summaries
        youngest = system[-1][0] if system else None
        records = await self._records.page(
            caller.account_id,
            caller.region,
            after=after,
            # Most application profiles are younger than all that Amazon defines.
            until=youngest[0] if youngest and len(system) == limit else None,
            limit=limit,
        )
        summaries += records
        if youngest and records and position_of(records[0]) < youngest:
            summaries.sort(key=position_of)
        return summaries[:limit]

    def _system_listing(self, caller: Caller) -> "_SystemListing":
        key = (caller.account_id, caller.region)
        listing = self._system.get(key)
        if listing is None:
            profiles = self._catalogue.system_profiles(caller.region)
            listing = self._system[key] = _SystemListing(
                [_system_summary(profile, caller) for profile in profiles]
            )
        return listing

    def _system_profile(self, caller: Caller, identifier: str) -> SystemProfile | None:
        if identifier.startswith("arn:") and ":inference-profile/" not in identifier:
            return None
        profile_id = _own_id(caller, identifier, "inference-profile")
        return self._catalogue.system_profile(caller.region, profile_id)

    async def _application_profile(self, caller: Caller, identifier: str) -> InferenceProfileRecord:
        caller = replace(caller, account_id=caller.owner_of(identifier))
        profile_id = _own_id(caller, identifier, "application-inference-profile")
        record = await self._records.find(caller.account_id, caller.region, profile_id)
        if record is None:
            raise ResourceNotFoundException(NOT_FOUND)
        return record

    def _new_record(
        self, caller: Caller, request: CreateInferenceProfileRequest
    ) -> InferenceProfileRecord:
        profile_id = resource_id()
        now = self._clock()
        return InferenceProfileRecord(
            account_id=caller.account_id,
            region=caller.region,
            inference_profile_id=profile_id,
            inference_profile_arn=_application_arn(caller, profile_id),
            inference_profile_name=request.inference_profile_name,
            description=request.description,
            model_arns=self._source_models(caller, request.model_source.copy_from),
            created_at=now,
            updated_at=now,
        )

    def _source_models(self, caller: Caller, copy_from: str | None) -> tuple[str, ...]:
        """The models a new profile routes to: its source's, in the source's order."""
        match _parsed(copy_from):
            case Arn(partition=caller.partition, region=caller.region, account_id="") as source:
                model = self._catalogue.foundation_model(caller.region, source.resource_id)
                usable = model and "ON_DEMAND" in model.inference_types_supported
                if source.resource_type == "foundation-model" and usable:
                    return (str(source),)
            case (
                Arn(
                    partition=caller.partition, region=caller.region, account_id=caller.account_id
                ) as source
            ):
                profile = self._catalogue.system_profile(caller.region, source.resource_id)
                if source.resource_type == "inference-profile" and profile:
                    return tuple(profile.model_arns)
            case _:
                pass
        # GH:awslabs/aws-solutions-constructs#1387 shows this text.
        raise ValidationException("copyFrom must be a valid inference profile model source ARN.")

    async def _create(
        self, new: InferenceProfileRecord, request: CreateInferenceProfileRequest
    ) -> InferenceProfileRecord:
        try:
            return await self._records.create(
                new,
                tags=tags_by_key(request.tags, new.inference_profile_arn),
                client_token=client_token("CreateInferenceProfile", request),
                quota=self._quota,
            )
        except ClientTokenMismatchError:
            raise ConflictException(REQUEST_MISMATCH) from None
        except QuotaReachedError:
            raise ServiceQuotaExceededException(
                "Your request exceeds the quota of "
                f"{self._quota} inference profiles per account in this Region."
            ) from None


_PLACE: Callable[[tuple[Position, Listed]], Position] = itemgetter(0)


class _SystemListing:
    """One caller's system-defined profiles of one Region, in order."""

    def __init__(self, summaries: Sequence[InferenceProfileSummary]) -> None:
        placed = [(_place(one), msgspec.json.encode(one).decode()) for one in summaries]
        self._placed = sorted(placed, key=_PLACE)

    def page(self, after: Position | None, limit: int) -> list[tuple[Position, Listed]]:
        start = bisect_right(self._placed, after, key=_PLACE) if after else 0
        return self._placed[start : start + limit]


def _place(summary: InferenceProfileSummary) -> Position:
    assert summary.updated_at
    return to_micros(summary.updated_at), summary.inference_profile_arn


def _summary(record: InferenceProfileRecord) -> InferenceProfileSummary:
    return InferenceProfileSummary(
        inference_profile_name=record.inference_profile_name,
        description=record.description,
        created_at=record.created_at,
        updated_at=record.updated_at,
        inference_profile_arn=record.inference_profile_arn,
        models=[InferenceProfileModel(model_arn=arn) for arn in record.model_arns],
        inference_profile_id=record.inference_profile_id,
        status="ACTIVE",
        type="APPLICATION",
    )


def _system_summary(profile: SystemProfile, caller: Caller) -> InferenceProfileSummary:
    return InferenceProfileSummary(
        inference_profile_name=profile.inference_profile_name,
        description=profile.description,
        created_at=profile.created_at,
        updated_at=profile.updated_at,
        inference_profile_arn=(
            f"arn:{caller.partition}:bedrock:{caller.region}:{caller.account_id}"
            f":inference-profile/{profile.inference_profile_id}"
        ),
        models=[InferenceProfileModel(model_arn=arn) for arn in profile.model_arns],
        inference_profile_id=profile.inference_profile_id,
        status="ACTIVE",
        type="SYSTEM_DEFINED",
    )


def _application_arn(caller: Caller, profile_id: str) -> str:
    return (
        f"arn:{caller.partition}:bedrock:{caller.region}:{caller.account_id}"
        f":application-inference-profile/{profile_id}"
    )


def _own_id(caller: Caller, identifier: str, resource_type: str) -> str:
    """The id an identifier names. Raises ResourceNotFoundException for what isn't the caller's."""
    if not identifier.startswith("arn:"):
        return identifier
    arn = _parsed(identifier)
    if arn is None or (arn.partition, arn.region, arn.account_id, arn.resource_type) != (
        caller.partition,
        caller.region,
        caller.account_id,
        resource_type,
    ):
        raise ResourceNotFoundException(NOT_FOUND)
    return arn.resource_id


def _parsed(text: str | None) -> Arn | None:
    try:
        return Arn.parse(text or "")
    except ValueError:
        return None
