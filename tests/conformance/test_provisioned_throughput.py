"""Provisioned throughput and foundation models through boto3, as Amazon Bedrock answers them."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.waiting import once

NOVA_24K = "amazon.nova-lite-v1:0:24k"
NOVA_24K_ARN = f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA_24K}"
BASE_ARN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"


def code_of(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    return str(refusal.value.response["Error"]["Code"])


def when_settled(bedrock: Any, identifier: str) -> Any:
    """Polls as Terraform does, until the provisioned model is neither Creating nor Updating."""

    def is_settled(found: Any) -> bool:
        return found["status"] not in {"Creating", "Updating"}

    found = once(
        lambda: bedrock.get_provisioned_model_throughput(provisionedModelId=identifier), is_settled
    )
    assert is_settled(found), found
    return found


@pytest.fixture
def units(bedrock: Any) -> Iterator[Callable[..., str]]:
    """Buys provisioned throughput; gives it back at the end."""
    bought: list[str] = []

    def buy(name: str, model_id: str = NOVA_24K, **parameters: Any) -> str:
        bought.append(
            bedrock.create_provisioned_model_throughput(
                provisionedModelName=name, modelId=model_id, modelUnits=2, **parameters
            )["provisionedModelArn"]
        )
        return bought[-1]

    yield buy
    for arn in bought:
        with suppress(
            bedrock.exceptions.ResourceNotFoundException, bedrock.exceptions.ConflictException
        ):
            when_settled(bedrock, arn)
            bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)


def test_bought_units_are_creating_and_then_in_service(
    bedrock: Any, units: Callable[..., str]
) -> None:
    arn = units("first")
    created = bedrock.get_provisioned_model_throughput(provisionedModelId=arn)
    settled = when_settled(bedrock, arn)

    assert re.fullmatch(r"arn:aws:bedrock:us-east-1:\d{12}:provisioned-model/[a-z0-9]{12}", arn)
    assert created["status"] == "Creating"
    del settled["ResponseMetadata"]
    assert settled.pop("creationTime") == created["creationTime"]
    assert settled.pop("lastModifiedTime") > created["creationTime"]
    assert settled == {
        "modelUnits": 2,
        "desiredModelUnits": 2,
        "provisionedModelName": "first",
        "provisionedModelArn": arn,
        "modelArn": NOVA_24K_ARN,
        "desiredModelArn": NOVA_24K_ARN,
        "foundationModelArn": NOVA_24K_ARN,
        "status": "InService",
    }


def test_name_arn_and_id_name_the_same_thing(bedrock: Any, units: Callable[..., str]) -> None:
    arn = units("three-names")

    for identifier in ("three-names", arn, arn.rpartition("/")[2]):
        found = bedrock.get_provisioned_model_throughput(provisionedModelId=identifier)
        assert found["provisionedModelArn"] == arn


def test_names_are_unique(bedrock: Any, units: Callable[..., str]) -> None:
    units("taken")

    code = code_of(
        bedrock.create_provisioned_model_throughput,
        provisionedModelName="taken",
        modelId=NOVA_24K,
        modelUnits=1,
    )

    assert code == "ValidationException"


@pytest.mark.parametrize(
    "model_id",
    [
        "amazon.nova-lite-v1:0:999k",
        "no.such-model",
        "amazon.nova-lite-v1:0:24k:1",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0:24k",
        "stability.sd3-5-large-v1:0",
    ],
)
def test_a_model_without_provisioned_throughput_is_refused(bedrock: Any, model_id: str) -> None:
    code = code_of(
        bedrock.create_provisioned_model_throughput,
        provisionedModelName="refused",
        modelId=model_id,
        modelUnits=1,
    )

    assert code == "ValidationException"


def test_every_filter_alone_and_together(bedrock: Any, units: Callable[..., str]) -> None:
    first, second = units("filter-alpha"), units("filter-Beta", "amazon.nova-micro-v1:0:128k")
    bedrock_first = when_settled(bedrock, first)
    when_settled(bedrock, second)

    def names(**filters: Any) -> list[str]:
        listed = bedrock.list_provisioned_model_throughputs(nameContains="filter-", **filters)
        return [found["provisionedModelName"] for found in listed["provisionedModelSummaries"]]

    born = bedrock_first["creationTime"]
    instant = timedelta(microseconds=1)
    assert names() == ["filter-Beta", "filter-alpha"]
    assert names(sortOrder="Ascending", sortBy="CreationTime") == ["filter-alpha", "filter-Beta"]
    assert names(modelArnEquals=NOVA_24K_ARN) == ["filter-alpha"]
    assert names(statusEquals="InService") == ["filter-Beta", "filter-alpha"]
    assert names(statusEquals="Failed") == []
    assert names(creationTimeAfter=born) == ["filter-Beta"]
    assert names(creationTimeAfter=born - instant) == ["filter-Beta", "filter-alpha"]
    assert names(creationTimeBefore=born) == []
    assert names(creationTimeBefore=born + instant) == ["filter-alpha"]
    assert names(creationTimeAfter=born, modelArnEquals=NOVA_24K_ARN) == []
    assert code_of(bedrock.list_provisioned_model_throughputs, nameContains="a b") == (
        "ValidationException"
    )


def test_names_are_searched_literally_and_by_case(bedrock: Any, units: Callable[..., str]) -> None:
    units("Case_x-1")

    def found(needle: str) -> bool:
        listed = bedrock.list_provisioned_model_throughputs(nameContains=needle)
        return bool(listed["provisionedModelSummaries"])

    assert found("Case_x")
    assert found("e_x")
    assert found("C")
    assert not found("case_x")
    assert not found("Case-x")
    assert not found("CaseQx")


def test_pages_neither_repeat_nor_lose(bedrock: Any, units: Callable[..., str]) -> None:
    arns = [units(f"page-{number}") for number in range(7)]

    pages = list(
        bedrock.get_paginator("list_provisioned_model_throughputs").paginate(
            nameContains="page-", PaginationConfig={"PageSize": 3}
        )
    )

    found = [
        summary["provisionedModelArn"]
        for page in pages
        for summary in page["provisionedModelSummaries"]
    ]
    assert found == arns[::-1]
    assert "nextToken" not in pages[-1]


def test_only_the_name_of_a_base_models_throughput_changes(
    bedrock: Any, units: Callable[..., str]
) -> None:
    arn = units("before")
    when_settled(bedrock, arn)

    bedrock.update_provisioned_model_throughput(
        provisionedModelId=arn, desiredProvisionedModelName="after"
    )
    code = code_of(
        bedrock.update_provisioned_model_throughput,
        provisionedModelId=arn,
        desiredModelId="amazon.nova-lite-v1:0:300k",
    )

    assert code == "ValidationException"
    renamed = bedrock.get_provisioned_model_throughput(provisionedModelId="after")
    assert renamed["provisionedModelArn"] == arn
    assert code_of(bedrock.get_provisioned_model_throughput, provisionedModelId="before") == (
        "ResourceNotFoundException"
    )


def test_custom_models_are_swapped_while_updating(bedrock: Any, units: Callable[..., str]) -> None:
    arn = units("custom", "support-tuned")
    before = when_settled(bedrock, arn)

    bedrock.update_provisioned_model_throughput(
        provisionedModelId=arn, desiredModelId="support-tuned-2"
    )
    updating = bedrock.get_provisioned_model_throughput(provisionedModelId=arn)
    busy = code_of(bedrock.delete_provisioned_model_throughput, provisionedModelId=arn)
    after = when_settled(bedrock, arn)

    assert before["modelArn"].endswith(":custom-model/amazon.nova-lite-v1:0/abcdefghij01")
    assert before["foundationModelArn"] == BASE_ARN
    assert updating["status"] == "Updating"
    assert updating["modelArn"] == before["modelArn"]
    assert updating["desiredModelArn"].endswith("/abcdefghij02")
    assert busy == "ConflictException"
    assert after["status"] == "InService"
    assert after["modelArn"] == after["desiredModelArn"] == updating["desiredModelArn"]


def test_a_commitment_refuses_deletion_and_names_the_date(
    bedrock: Any, units: Callable[..., str]
) -> None:
    arn = units("committed", commitmentDuration="OneMonth")
    settled = when_settled(bedrock, arn)

    with pytest.raises(ClientError) as refusal:
        bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)

    assert settled["commitmentDuration"] == "OneMonth"
    expires = settled["commitmentExpirationTime"]
    assert timedelta(days=28) <= expires - settled["creationTime"] <= timedelta(days=31)
    assert refusal.value.response["Error"]["Code"] == "ConflictException"
    assert expires.strftime("%Y-%m-%dT%H:%M:%S") in refusal.value.response["Error"]["Message"]


def test_what_is_being_created_cannot_be_deleted_or_changed(
    bedrock: Any, units: Callable[..., str]
) -> None:
    arn = units("hurry")

    deletion = code_of(bedrock.delete_provisioned_model_throughput, provisionedModelId=arn)

    assert deletion == "ConflictException"


def test_no_server_for_the_model_fails_with_a_reason(
    bedrock: Any, units: Callable[..., str]
) -> None:
    arn = units("image", "amazon.nova-canvas-v1:0")

    settled = when_settled(bedrock, arn)

    assert settled["status"] == "Failed"
    assert settled["failureMessage"] == (
        "No model server in us-east-1 serves amazon.nova-canvas-v1:0."
    )
    listed = bedrock.list_provisioned_model_throughputs(statusEquals="Failed")
    assert [found["provisionedModelArn"] for found in listed["provisionedModelSummaries"]] == [arn]


def test_a_deleted_one_is_gone(bedrock: Any, units: Callable[..., str]) -> None:
    arn = units("short-lived")
    when_settled(bedrock, arn)

    bedrock.delete_provisioned_model_throughput(provisionedModelId="short-lived")

    for call in (
        bedrock.get_provisioned_model_throughput,
        bedrock.delete_provisioned_model_throughput,
    ):
        assert code_of(call, provisionedModelId=arn) == "ResourceNotFoundException"


def test_tags_of_bought_units(bedrock: Any, units: Callable[..., str]) -> None:
    arn = units("tagged", tags=[{"key": "team", "value": "checkout"}])

    assert bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [
        {"key": "team", "value": "checkout"}
    ]


def test_foundation_models_are_filtered(bedrock: Any) -> None:
    def ids(**filters: str) -> set[str]:
        listed = bedrock.list_foundation_models(**filters)["modelSummaries"]
        return {found["modelId"] for found in listed}

    assert "amazon.nova-lite-v1:0" in ids(byProvider="Amazon", byInferenceType="PROVISIONED")
    assert ids(byProvider="amazon") == ids(byProvider="Amazon")
    assert ids(byProvider="Nobody") == set()
    assert "amazon.titan-embed-text-v2:0" in ids(byOutputModality="EMBEDDING")
    assert "amazon.titan-embed-text-v2:0" not in ids(byOutputModality="TEXT")
    assert ids(byCustomizationType="FINE_TUNING") == set()
    assert "outcrop.smollm2-135m-instruct-v1:0" in ids(byProvider="Outcrop")


def test_a_foundation_model_by_id_and_by_arn(bedrock: Any) -> None:
    by_id = bedrock.get_foundation_model(modelIdentifier="amazon.nova-lite-v1:0")["modelDetails"]
    by_arn = bedrock.get_foundation_model(modelIdentifier=BASE_ARN)["modelDetails"]

    assert by_id == by_arn
    assert by_id["modelArn"] == BASE_ARN
    assert by_id["inferenceTypesSupported"] == ["ON_DEMAND", "PROVISIONED", "INFERENCE_PROFILE"]
    assert code_of(bedrock.get_foundation_model, modelIdentifier="no.such-model") == (
        "ResourceNotFoundException"
    )


def test_availability_tells_what_this_installation_serves(bedrock: Any) -> None:
    text = bedrock.get_foundation_model_availability(modelId="amazon.nova-lite-v1:0")
    image = bedrock.get_foundation_model_availability(modelId="stability.sd3-5-large-v1:0")

    assert text["entitlementAvailability"] == "AVAILABLE"
    assert image["entitlementAvailability"] == "NOT_AVAILABLE"
    assert image["regionAvailability"] == "NOT_AVAILABLE"
