"""Provisioned throughput: model units bought for one model, and what becomes of them over time."""

from datetime import datetime, timedelta
from typing import NoReturn, Protocol

from msgspec.structs import replace

from outcrop.control.lifecycle import advanced, commitment_end, deletable_at
from outcrop.control.new_resources import (
    REQUEST_MISMATCH,
    client_token,
    resource_id,
    tags_by_key,
)
from outcrop.control.provisionable import ProvisionableModels
from outcrop.iam.caller import Caller
from outcrop.store.capacity import Room
from outcrop.store.errors import (
    ClientTokenMismatchError,
    NameTakenError,
    NoRoomError,
    QuotaReachedError,
)
from outcrop.store.listed import as_json
from outcrop.store.provisioned_throughputs import (
    ProvisionedModelThroughputs as ProvisionedModelThroughputRecords,
)
from outcrop.store.records import (
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from outcrop.wire.arn import Arn
from outcrop.wire.errors import (
    ConflictException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)
from outcrop.wire.page_tokens import PageTokens
from outcrop.wire.shapes.bedrock import (
    CreateProvisionedModelThroughputRequest,
    CreateProvisionedModelThroughputResponse,
    DeleteProvisionedModelThroughputRequest,
    DeleteProvisionedModelThroughputResponse,
    GetProvisionedModelThroughputRequest,
    GetProvisionedModelThroughputResponse,
    ListProvisionedModelThroughputsRequest,
    ListProvisionedModelThroughputsResponse,
    UpdateProvisionedModelThroughputRequest,
    UpdateProvisionedModelThroughputResponse,
)
from outcrop.wire.timestamps import Clock, iso8601

# Decision: Amazon documents no default; a page without maxResults holds what the largest may.
DEFAULT_PAGE = 1000


class Terms(Protocol):
    """What the operator decides (`provisioned_throughput` in docs/configuration.md)."""

    @property
    def quota(self) -> int: ...
    @property
    def model_units_quota(self) -> int: ...
    @property
    def creating_s(self) -> float: ...
    @property
    def updating_s(self) -> float: ...


class ProvisionedThroughput:
    def __init__(
        self,
        records: ProvisionedModelThroughputRecords,
        models: ProvisionableModels,
        *,
        room: Room,
        terms: Terms,
        page_token_key: bytes,
        clock: Clock,
    ) -> None:
        self._records = records
        self._models = models
        self._room = room
        self._terms = terms
        self._clock = clock
        self._tokens = PageTokens(
            "ListProvisionedModelThroughputs", int, key=page_token_key, clock=clock
        )
        self._due_at: datetime | None = None
        """When the next known record is due; other servers' are found by `watch`."""

    async def list_provisioned_model_throughputs(
        self, caller: Caller, request: ListProvisionedModelThroughputsRequest
    ) -> ListProvisionedModelThroughputsResponse:
        await self.advance()
        filters = _filters(request)
        # Decision: newest first; Amazon documents no default order.
        descending = request.sort_order != "Ascending"
        sealed_with = (filters, descending)
        after = (
            self._tokens.open(request.next_token, caller, sealed_with)
            if request.next_token
            else None
        )
        page = await self._records.page(
            caller.account_id,
            caller.region,
            filters=filters,
            descending=descending,
            after=after,
            limit=request.max_results or DEFAULT_PAGE,
        )
        return ListProvisionedModelThroughputsResponse(
            provisioned_model_summaries=as_json(page.rows),
            next_token=None
            if page.goes_on_after is None
            else self._tokens.seal(page.goes_on_after, caller, sealed_with),
        )

    async def get_provisioned_model_throughput(
        self, caller: Caller, request: GetProvisionedModelThroughputRequest
    ) -> GetProvisionedModelThroughputResponse:
        identifier = request.provisioned_model_id
        owner = replace(caller, account_id=caller.owner_of(identifier))
        record = await self._found(owner, identifier)
        return GetProvisionedModelThroughputResponse(
            model_units=record.model_units,
            desired_model_units=record.desired_model_units,
            provisioned_model_name=record.provisioned_model_name,
            provisioned_model_arn=record.provisioned_model_arn,
            model_arn=record.model_arn,
            desired_model_arn=record.desired_model_arn,
            foundation_model_arn=record.foundation_model_arn,
            status=record.status,
            creation_time=record.creation_time,
            last_modified_time=record.last_modified_time,
            failure_message=record.failure_message,
            commitment_duration=record.commitment_duration,
            commitment_expiration_time=record.commitment_expiration_time,
        )

    async def create_provisioned_model_throughput(
        self, caller: Caller, request: CreateProvisionedModelThroughputRequest
    ) -> CreateProvisionedModelThroughputResponse:
        if request.model_units > self._terms.model_units_quota:
            raise ServiceQuotaExceededException(
                f"Your request exceeds the quota of {self._terms.model_units_quota} model units "
                "per provisioned model."
            )
        new = self._new_record(caller, request)
        try:
            record = await self._records.create(
                new,
                tags=tags_by_key(request.tags, new.provisioned_model_arn),
                client_token=client_token("CreateProvisionedModelThroughput", request),
                quota=self._terms.quota,
            )
        except ClientTokenMismatchError:
            # ConflictException is not modelled for this operation.
            raise ValidationException(REQUEST_MISMATCH) from None
        except NameTakenError:
            _refuse_name(request.provisioned_model_name)
        except QuotaReachedError:
            raise ServiceQuotaExceededException(
                f"Your request exceeds the quota of {self._terms.quota} provisioned models "
                "per account in this Region."
            ) from None
        self._expect(record)
        return CreateProvisionedModelThroughputResponse(
            provisioned_model_arn=record.provisioned_model_arn
        )

    async def update_provisioned_model_throughput(
        self, caller: Caller, request: UpdateProvisionedModelThroughputRequest
    ) -> UpdateProvisionedModelThroughputResponse:
        before = await self._found(caller, request.provisioned_model_id)
        after = self._updated(caller, before, request)
        try:
            replaced = after == before or await self._records.replace(before, after)
        except NameTakenError:
            _refuse_name(after.provisioned_model_name)
        if not replaced:
            raise ValidationException(_BUSY.format(before.provisioned_model_arn, "being changed"))
        self._expect(after)
        return UpdateProvisionedModelThroughputResponse()

    async def delete_provisioned_model_throughput(
        self, caller: Caller, request: DeleteProvisionedModelThroughputRequest
    ) -> DeleteProvisionedModelThroughputResponse:
        record = await self._found(caller, request.provisioned_model_id)
        if record.status in {"Creating", "Updating"}:
            raise ConflictException(_BUSY.format(record.provisioned_model_arn, record.status))
        end = deletable_at(record, self._clock())
        if end is not None:
            raise ConflictException(
                f"The provisioned model {record.provisioned_model_arn} has a commitment of "
                f"{record.commitment_duration} and can't be deleted before {iso8601(end)}."
            )
        if not await self._records.delete(record):
            raise ConflictException(_BUSY.format(record.provisioned_model_arn, "being changed"))
        return DeleteProvisionedModelThroughputResponse()

    async def advance(self) -> None:
        """Brings every record that is due to where it stands now."""
        if self._due_at is None or (now := self._clock()) < self._due_at:
            return
        while due := await self._records.due(now, limit=100):
            for record in due:
                await self._advance(record, now)
        self._due_at = await self._records.next_due()

    async def _advance(self, record: ProvisionedModelThroughputRecord, now: datetime) -> None:
        after = advanced(record, now, self._models.refusal)
        try:
            await self._records.replace(record, after, room=self._room)
        except NoRoomError as error:
            refusal = str(error)
        else:
            return
        await self._records.replace(record, advanced(record, now, lambda _: refusal))

    async def watch(self) -> None:
        """Learns what other servers on the same store made due. Called every so often."""
        self._due_at = await self._records.next_due()
        await self.advance()

    def _expect(self, record: ProvisionedModelThroughputRecord) -> None:
        if record.due_at and (self._due_at is None or record.due_at < self._due_at):
            self._due_at = record.due_at

    async def _found(self, caller: Caller, identifier: str) -> ProvisionedModelThroughputRecord:
        """By ARN, name or bare id, in this order: a name may look like another's id."""
        await self.advance()
        if identifier.startswith("arn:"):
            record = await self._by_arn(caller, identifier)
        else:
            record = await self._records.find(
                caller.account_id, caller.region, name=identifier
            ) or await self._records.find(
                caller.account_id, caller.region, provisioned_model_id=identifier
            )
        if record is None:
            raise ResourceNotFoundException(
                f"Could not find a provisioned model with the identifier {identifier}."
            )
        return record

    async def _by_arn(
        self, caller: Caller, identifier: str
    ) -> ProvisionedModelThroughputRecord | None:
        arn = Arn.parse(identifier)
        if (arn.partition, arn.region, arn.account_id) != (
            caller.partition,
            caller.region,
            caller.account_id,
        ):
            return None
        return await self._records.find(
            caller.account_id, caller.region, provisioned_model_id=arn.resource_id
        )

    def _new_record(
        self, caller: Caller, request: CreateProvisionedModelThroughputRequest
    ) -> ProvisionedModelThroughputRecord:
        model = self._models.named(caller, request.model_id, request.commitment_duration)
        provisioned_model_id = resource_id()
        now = self._clock()
        return ProvisionedModelThroughputRecord(
            account_id=caller.account_id,
            region=caller.region,
            provisioned_model_id=provisioned_model_id,
            provisioned_model_name=request.provisioned_model_name,
            provisioned_model_arn=(
                f"arn:{caller.partition}:bedrock:{caller.region}:{caller.account_id}"
                f":provisioned-model/{provisioned_model_id}"
            ),
            model_arn=model.model_arn,
            desired_model_arn=model.model_arn,
            foundation_model_arn=model.foundation_model_arn,
            model_units=request.model_units,
            desired_model_units=request.model_units,
            status="Creating",
            commitment_duration=request.commitment_duration,
            commitment_expiration_time=commitment_end(now, request.commitment_duration, now),
            creation_time=now,
            last_modified_time=now,
            due_at=now + timedelta(seconds=self._terms.creating_s),
        )

    def _updated(
        self,
        caller: Caller,
        before: ProvisionedModelThroughputRecord,
        request: UpdateProvisionedModelThroughputRequest,
    ) -> ProvisionedModelThroughputRecord:
        if before.status != "InService":
            raise ValidationException(_BUSY.format(before.provisioned_model_arn, before.status))
        now = self._clock()
        after = before
        name = request.desired_provisioned_model_name
        if name and name != before.provisioned_model_name:
            after = replace(after, provisioned_model_name=name, last_modified_time=now)
        if request.desired_model_id:
            model = self._models.swapped(caller, before, request.desired_model_id)
            if model.model_arn != before.model_arn:
                after = replace(
                    after,
                    desired_model_arn=model.model_arn,
                    status="Updating",
                    last_modified_time=now,
                    due_at=now + timedelta(seconds=self._terms.updating_s),
                )
                # Decision: it would end as Failed, and what answers now would be lost.
                if refusal := self._models.refusal(after):
                    raise ValidationException(refusal)
        return after


_BUSY = "The provisioned model {0} is {1}. Wait until it is InService and try again."


def _refuse_name(name: str) -> NoReturn:
    # ConflictException is modelled for DeleteProvisionedModelThroughput alone.
    raise ValidationException(
        f"A provisioned model with the name {name} already exists in this account and Region."
    ) from None


def _filters(
    request: ListProvisionedModelThroughputsRequest,
) -> ProvisionedModelThroughputFilters:
    return ProvisionedModelThroughputFilters(
        status=request.status_equals,
        model_arn=request.model_arn_equals,
        name_contains=request.name_contains,
        created_after=request.creation_time_after,
        created_before=request.creation_time_before,
    )
