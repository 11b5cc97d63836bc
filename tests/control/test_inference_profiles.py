import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from outcrop.wire.errors import (
    ConflictException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    DeleteInferenceProfileRequest,
    GetInferenceProfileRequest,
    InferenceProfileModelSource,
    InferenceProfileSummary,
    ListInferenceProfilesRequest,
    ListInferenceProfilesResponse,
)
from tests.clocks import FakeClock
from tests.control.world import CALLER, MODEL_ARN, World, world


async def create(opened: World, name: str = "team", token: str | None = None) -> str:
    request = CreateInferenceProfileRequest(
        inference_profile_name=name,
        model_source=InferenceProfileModelSource(copy_from=MODEL_ARN),
        client_request_token=token,
    )
    return (await opened.profiles.create_inference_profile(CALLER, request)).inference_profile_arn


async def page(opened: World, **members: object) -> ListInferenceProfilesResponse:
    request = ListInferenceProfilesRequest(**members)  # type: ignore[arg-type]  # each test says which
    return await opened.profiles.list_inference_profiles(CALLER, request)


def arns(response: ListInferenceProfilesResponse) -> list[str]:
    # Rows go out as they are kept, so what the response holds is read as a client would.
    text = json.encode(response.inference_profile_summaries)
    return [row["inferenceProfileArn"] for row in json.decode(text)]


def test_a_quota_holds_and_a_deletion_makes_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, FakeClock(), profile_quota=1) as opened:
            arn = await create(opened)
            with pytest.raises(ServiceQuotaExceededException):
                await create(opened)
            await opened.profiles.delete_inference_profile(
                CALLER, DeleteInferenceProfileRequest(inference_profile_identifier=arn)
            )
            await create(opened)

    asyncio.run(main())


def test_a_client_request_token_conflicts_with_other_parameters(tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        async with world(tmp_path, FakeClock()) as opened:
            first = await create(opened, token="t")
            again = await create(opened, token="t")
            with pytest.raises(ConflictException):
                await create(opened, "other", token="t")
            return first, again

    first, again = asyncio.run(main())

    assert first == again


def test_the_switch_gives_amazons_observed_answer(tmp_path: Path) -> None:
    async def main() -> tuple[bool, bool]:
        async with world(tmp_path, FakeClock(), list_without_type="system_defined") as opened:
            arn = await create(opened)
            return arn in arns(await page(opened)), arn in arns(
                await page(opened, type_equals="APPLICATION")
            )

    assert asyncio.run(main()) == (False, True)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_pages_hold_all_that_was_there_throughout_and_nothing_twice(
    tmp_path: Path, size: int
) -> None:
    clock = FakeClock()

    async def main() -> tuple[list[str], list[str]]:
        async with world(tmp_path, clock) as opened:
            stayers = [await create(opened, f"stays {number}") for number in range(6)]
            goer = await create(opened, "goes")
            expected = arns(await page(opened))
            expected.remove(goer)
            seen: list[str] = []
            response = await page(opened, max_results=size)
            while True:
                seen += arns(response)
                if response.next_token is None:
                    break
                await create(opened, "arrives while listed") if len(seen) < 20 else None
                if goer:
                    await opened.profiles.delete_inference_profile(
                        CALLER, DeleteInferenceProfileRequest(inference_profile_identifier=goer)
                    )
                    goer = ""
                response = await page(opened, max_results=size, next_token=response.next_token)
            assert set(stayers) <= set(seen)
            return expected, seen

    expected, seen = asyncio.run(main())

    assert set(expected) <= set(seen)
    assert len(seen) == len(set(seen))


def test_system_defined_and_application_profiles_stand_in_the_order_of_their_times(
    tmp_path: Path,
) -> None:
    # In between those of Amazon's.
    clock = FakeClock(datetime(2025, 3, 1, tzinfo=UTC))

    async def main() -> list[tuple[datetime, str]]:
        async with world(tmp_path, clock) as opened:
            for number in range(3):
                await create(opened, f"old {number}")
            text = json.encode((await page(opened)).inference_profile_summaries)
            whole = [
                (datetime.fromisoformat(row["updatedAt"]), row["inferenceProfileArn"])
                for row in json.decode(text)
            ]
            response = await page(opened, max_results=2)
            seen = arns(response)
            while response.next_token is not None:
                response = await page(opened, max_results=2, next_token=response.next_token)
                seen += arns(response)
            assert seen == [arn for _, arn in whole]
            return whole

    whole = asyncio.run(main())

    assert whole == sorted(whole)
    assert ["application" in arn for _, arn in whole].index(True) > 0
    assert "application" not in whole[-1][1]


def test_what_belongs_to_another_account_or_region_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, FakeClock()) as opened:
            arn = await create(opened)
            request = GetInferenceProfileRequest(inference_profile_identifier=arn)
            for stranger in (
                replace(CALLER, account_id="444455556666"),
                replace(CALLER, region="us-west-2"),
            ):
                with pytest.raises(ResourceNotFoundException):
                    await opened.profiles.get_inference_profile(stranger, request)
                by_id = replace(request, inference_profile_identifier=arn.rpartition("/")[2])
                with pytest.raises(ResourceNotFoundException):
                    await opened.profiles.get_inference_profile(stranger, by_id)

    asyncio.run(main())


def test_a_token_is_of_one_account(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path, FakeClock()) as opened:
            token = (await page(opened, max_results=1)).next_token
            request = ListInferenceProfilesRequest(next_token=token)
            stranger = replace(CALLER, account_id="444455556666")
            with pytest.raises(ValidationException):
                await opened.profiles.list_inference_profiles(stranger, request)

    asyncio.run(main())


def test_a_summary_as_it_goes_out_is_the_one_the_model_describes(tmp_path: Path) -> None:
    async def main() -> bytes:
        async with world(tmp_path, FakeClock()) as opened:
            await create(opened)
            response = await page(opened, type_equals="APPLICATION")
            return json.encode(response.inference_profile_summaries)

    (row,) = json.decode(asyncio.run(main()))

    members = set(InferenceProfileSummary.__struct_encode_fields__)
    assert set(row) == members - {"description"}
