import asyncio
from pathlib import Path

import pytest
from msgspec import json

from outcrop.store.catalogue import CustomModel
from outcrop.wire.errors import (
    ConflictException,
    ServiceQuotaExceededException,
    ValidationException,
)
from outcrop.wire.shapes.bedrock import (
    CreateProvisionedModelThroughputRequest,
    DeleteProvisionedModelThroughputRequest,
    GetProvisionedModelThroughputRequest,
    GetProvisionedModelThroughputResponse,
    ListProvisionedModelThroughputsRequest,
    UpdateProvisionedModelThroughputRequest,
)
from tests.clocks import FakeClock
from tests.control.world import CALLER, Terms, World, world

MODEL = "amazon.nova-lite-v1:0"
Create = CreateProvisionedModelThroughputRequest


async def buy(opened: World, name: str = "units", **members: object) -> str:
    request = Create(
        **{  # type: ignore[arg-type]  # each test says what it changes
            "provisioned_model_name": name,
            "model_id": "amazon.nova-lite-v1:0:24k",
            "model_units": 2,
            **members,
        }
    )
    response = await opened.units.create_provisioned_model_throughput(CALLER, request)
    return response.provisioned_model_arn


async def get(opened: World, identifier: str) -> GetProvisionedModelThroughputResponse:
    request = GetProvisionedModelThroughputRequest(provisioned_model_id=identifier)
    return await opened.units.get_provisioned_model_throughput(CALLER, request)


async def listed(opened: World, status: str) -> int:
    request = ListProvisionedModelThroughputsRequest(status_equals=status)  # type: ignore[arg-type]  # a literal in each test
    response = await opened.units.list_provisioned_model_throughputs(CALLER, request)
    return len(json.decode(json.encode(response.provisioned_model_summaries)))


async def delete(opened: World, identifier: str) -> None:
    request = DeleteProvisionedModelThroughputRequest(provisioned_model_id=identifier)
    await opened.units.delete_provisioned_model_throughput(CALLER, request)


def test_creating_lasts_as_long_as_configured_and_lists_follow(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> list[tuple[str, int, int]]:
        async with world(tmp_path, clock) as opened:
            arn = await buy(opened)
            seen: list[tuple[str, int, int]] = []
            for seconds in (0, 59, 1):
                clock.advance(seconds=seconds)
                seen.append(
                    (
                        (await get(opened, arn)).status,
                        await listed(opened, "Creating"),
                        await listed(opened, "InService"),
                    )
                )
            return seen

    assert asyncio.run(main()) == [("Creating", 1, 0), ("Creating", 1, 0), ("InService", 0, 1)]


def test_what_was_due_while_no_server_ran_is_settled_at_the_next_start(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> str:
        async with world(tmp_path, clock) as opened:
            arn = await buy(opened)
        clock.advance(minutes=5)
        async with world(tmp_path, clock) as opened:
            await opened.units.watch()
            return (await get(opened, arn)).status

    assert asyncio.run(main()) == "InService"


def test_nobody_serving_the_model_fails_it_with_the_reason(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> GetProvisionedModelThroughputResponse:
        async with world(tmp_path, clock, serves=lambda *_: False) as opened:
            arn = await buy(opened)
            clock.advance(minutes=1)
            found = await get(opened, arn)
            await delete(opened, arn)
            return found

    found = asyncio.run(main())

    assert found.status == "Failed"
    assert found.failure_message == (
        "No model server in us-east-1 serves amazon.nova-lite-v1:0:24k."
    )


def test_an_update_to_a_model_that_nobody_serves_is_refused_and_changes_nothing(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    custom = [
        CustomModel(custom_model_id=id_, custom_model_name=name, base_model_id=MODEL)
        for id_, name in (("abcdefghij01", "served"), ("abcdefghij02", "nobodys"))
    ]

    async def main() -> tuple[str, list[GetProvisionedModelThroughputResponse]]:
        async with world(
            tmp_path,
            clock,
            custom_models=custom,
            serves=lambda model, _: model.model_id == "served",
        ) as opened:
            arn = await buy(opened, model_id="served")
            clock.advance(minutes=1)
            before = await get(opened, arn)
            with pytest.raises(ValidationException) as refused:
                await opened.units.update_provisioned_model_throughput(
                    CALLER,
                    UpdateProvisionedModelThroughputRequest(
                        provisioned_model_id=arn,
                        desired_provisioned_model_name="other",
                        desired_model_id="nobodys",
                    ),
                )
            clock.advance(minutes=1)
            return refused.value.message, [before, await get(opened, arn)]

    message, (before, after) = asyncio.run(main())

    assert message == f"No model server in us-east-1 serves {MODEL}/abcdefghij02."
    assert before.status == "InService"
    assert before == after


def test_a_commitment_holds_renews_and_can_be_declined_for_a_day(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> tuple[str, str, str]:
        async with world(tmp_path, clock) as opened:
            arn = await buy(opened, commitment_duration="OneMonth")
            clock.advance(minutes=1)
            first = (await get(opened, arn)).commitment_expiration_time
            with pytest.raises(ConflictException) as refusal:
                await delete(opened, arn)
            clock.advance(days=32)
            second = (await get(opened, arn)).commitment_expiration_time
            with pytest.raises(ConflictException):
                await delete(opened, arn)
            assert first
            assert second
            clock.moment = second
            await delete(opened, arn)
            return first.isoformat(), second.isoformat(), refusal.value.message

    first, second, message = asyncio.run(main())

    assert (first[:19], second[:19]) == ("2026-12-22T12:00:00", "2027-01-22T12:00:00")
    assert "2026-12-22T12:00:00" in message


def test_nothing_but_the_status_changes_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> tuple[
        GetProvisionedModelThroughputResponse, GetProvisionedModelThroughputResponse
    ]:
        async with world(tmp_path, clock, terms=Terms(creating_s=0)) as opened:
            await buy(opened, "first")
            clock.advance(days=-1)
            arn = await buy(opened, "second", commitment_duration="OneMonth")
            before = await get(opened, arn)
            clock.advance(days=2)
            return before, await get(opened, arn)

    before, after = asyncio.run(main())

    assert before.status == after.status == "InService"
    assert before == after
    assert before.last_modified_time >= before.creation_time
    assert before.commitment_expiration_time


def test_quotas_of_provisioned_models_and_of_model_units(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(
            tmp_path, FakeClock(), terms=Terms(quota=1, model_units_quota=5)
        ) as opened:
            with pytest.raises(ServiceQuotaExceededException):
                await buy(opened, model_units=6)
            await buy(opened)
            with pytest.raises(ServiceQuotaExceededException):
                await buy(opened, "more")

    asyncio.run(main())


def test_a_repeated_client_request_token_answers_the_first_arn(tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        async with world(tmp_path, FakeClock()) as opened:
            first = await buy(opened, client_request_token="once")
            again = await buy(opened, client_request_token="once")
            with pytest.raises(ValidationException):
                await buy(opened, client_request_token="once", model_units=3)
            return first, again

    first, again = asyncio.run(main())

    assert first == again


def test_what_is_being_created_cannot_be_updated(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, FakeClock()) as opened:
            arn = await buy(opened)
            request = UpdateProvisionedModelThroughputRequest(
                provisioned_model_id=arn, desired_provisioned_model_name="other"
            )
            with pytest.raises(ValidationException):
                await opened.units.update_provisioned_model_throughput(CALLER, request)

    asyncio.run(main())


def test_the_clock_jumping_back_neither_reorders_nor_hides(tmp_path: Path) -> None:
    clock = FakeClock()

    async def main() -> list[str]:
        async with world(tmp_path, clock) as opened:
            arns = [await buy(opened, "first")]
            clock.advance(days=-3)
            arns.append(await buy(opened, "second"))
            request = ListProvisionedModelThroughputsRequest(max_results=1, sort_order="Ascending")
            pages = []
            while True:
                response = await opened.units.list_provisioned_model_throughputs(CALLER, request)
                pages.append(json.encode(response.provisioned_model_summaries).decode())
                if response.next_token is None:
                    break
                request = ListProvisionedModelThroughputsRequest(
                    max_results=1, sort_order="Ascending", next_token=response.next_token
                )
            assert all(arn in page for arn, page in zip(arns, pages, strict=True))
            return pages

    assert len(asyncio.run(main())) == 2
