"""Inference profiles through boto3, as Amazon Bedrock answers them."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

NOVA = "us.amazon.nova-lite-v1:0"
COPY_FROM = "copyFrom must be a valid inference profile model source ARN."


def arn_of(bedrock: Any, profile_id: str = NOVA) -> str:
    found = bedrock.get_inference_profile(inferenceProfileIdentifier=profile_id)
    return str(found["inferenceProfileArn"])


def account_of(bedrock: Any) -> str:
    return arn_of(bedrock).split(":")[4]


@pytest.fixture
def profile(bedrock: Any) -> Iterator[str]:
    """The ARN of a new application profile."""
    arn = bedrock.create_inference_profile(
        inferenceProfileName="team a", modelSource={"copyFrom": arn_of(bedrock)}
    )["inferenceProfileArn"]
    yield arn
    with suppress(bedrock.exceptions.ResourceNotFoundException):
        bedrock.delete_inference_profile(inferenceProfileIdentifier=arn)


def test_a_system_profile_is_as_amazon_lists_it(bedrock: Any) -> None:
    found = bedrock.get_inference_profile(inferenceProfileIdentifier=NOVA)

    del found["ResponseMetadata"]
    account = account_of(bedrock)
    assert found.pop("createdAt").isoformat() == "2024-11-29T13:23:00+00:00"
    assert found.pop("updatedAt").isoformat() == "2024-11-29T13:23:00+00:00"
    assert found.pop("description").startswith("Routes requests to Nova Lite in us-east-1")
    assert found == {
        "inferenceProfileName": "US Nova Lite",
        "inferenceProfileArn": f"arn:aws:bedrock:us-east-1:{account}:inference-profile/{NOVA}",
        "models": [
            {"modelArn": f"arn:aws:bedrock:{region}::foundation-model/amazon.nova-lite-v1:0"}
            for region in ("us-east-1", "us-west-2", "us-east-2")
        ],
        "inferenceProfileId": NOVA,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def test_a_global_profile_has_the_regionless_arn_first(client: Callable[..., Any]) -> None:
    found = client("bedrock", region="eu-west-1").get_inference_profile(
        inferenceProfileIdentifier="global.amazon.nova-2-lite-v1:0"
    )

    assert [model["modelArn"] for model in found["models"]] == [
        "arn:aws:bedrock:::foundation-model/amazon.nova-2-lite-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-2-lite-v1:0",
    ]


def test_destinations_depend_on_the_source_region(client: Callable[..., Any]) -> None:
    found = client("bedrock", region="us-west-1").get_inference_profile(
        inferenceProfileIdentifier=NOVA
    )

    regions = {model["modelArn"].split(":")[3] for model in found["models"]}
    assert regions == {"us-east-1", "us-east-2", "us-west-1", "us-west-2"}


def test_a_profile_of_another_region_is_not_found(client: Callable[..., Any]) -> None:
    with pytest.raises(ClientError) as refusal:
        client("bedrock", region="eu-west-1").get_inference_profile(inferenceProfileIdentifier=NOVA)

    assert refusal.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_govcloud_has_its_own_partition(client: Callable[..., Any]) -> None:
    listed = client("bedrock", region="us-gov-west-1").list_inference_profiles()

    arns = [found["inferenceProfileArn"] for found in listed["inferenceProfileSummaries"]]
    assert arns
    assert all(arn.startswith("arn:aws-us-gov:bedrock:us-gov-west-1:") for arn in arns)


def test_an_application_profile_copies_its_source(bedrock: Any, profile: str) -> None:
    found = bedrock.get_inference_profile(inferenceProfileIdentifier=profile)

    assert re.fullmatch(
        rf"arn:aws:bedrock:us-east-1:{account_of(bedrock)}:application-inference-profile/[a-z0-9]{{12}}",
        profile,
    )
    assert found["inferenceProfileId"] == profile.rpartition("/")[2]
    assert found["inferenceProfileName"] == "team a"
    assert found["type"] == "APPLICATION"
    assert found["status"] == "ACTIVE"
    assert "description" not in found
    source = bedrock.get_inference_profile(inferenceProfileIdentifier=NOVA)
    assert found["models"] == source["models"]
    assert found["createdAt"] == found["updatedAt"]
    by_id = bedrock.get_inference_profile(inferenceProfileIdentifier=found["inferenceProfileId"])
    assert by_id["inferenceProfileArn"] == profile


def test_creation_answers_201_with_arn_and_status(bedrock: Any) -> None:
    created = bedrock.create_inference_profile(
        inferenceProfileName="single-region",
        description="One Region: us-east-1",
        modelSource={
            "copyFrom": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
        },
    )

    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert created["status"] == "ACTIVE"
    found = bedrock.get_inference_profile(inferenceProfileIdentifier=created["inferenceProfileArn"])
    assert found["description"] == "One Region: us-east-1"
    assert [model["modelArn"] for model in found["models"]] == [
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
    ]
    bedrock.delete_inference_profile(inferenceProfileIdentifier=created["inferenceProfileArn"])


@pytest.mark.parametrize(
    "copy_from",
    [
        "arn:aws:bedrock:us-east-1::foundation-model/no.such-model",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:999999999999:inference-profile/us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::inference-profile/us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-1-20250805-v1:0",
        "arn:aws:bedrock:::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws-us-gov:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    ],
)
def test_an_unusable_source_is_refused(bedrock: Any, copy_from: str) -> None:
    with pytest.raises(ClientError) as refusal:
        bedrock.create_inference_profile(
            inferenceProfileName="x", modelSource={"copyFrom": copy_from}
        )

    assert refusal.value.response["Error"] == {"Code": "ValidationException", "Message": COPY_FROM}


def test_the_kinds_are_listed_apart_and_together(bedrock: Any, profile: str) -> None:
    def arns(**filters: str) -> list[str]:
        pages = bedrock.get_paginator("list_inference_profiles").paginate(**filters)
        return [
            found["inferenceProfileArn"]
            for page in pages
            for found in page["inferenceProfileSummaries"]
        ]

    assert profile in arns(typeEquals="APPLICATION")
    assert profile not in arns(typeEquals="SYSTEM_DEFINED")
    assert sorted(arns()) == sorted(
        arns(typeEquals="SYSTEM_DEFINED") + arns(typeEquals="APPLICATION")
    )


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pages_of_any_size_give_the_whole_listing_in_order(
    bedrock: Any, profile: str, size: int
) -> None:
    whole = bedrock.list_inference_profiles()["inferenceProfileSummaries"]

    pages = list(
        bedrock.get_paginator("list_inference_profiles").paginate(
            PaginationConfig={"PageSize": size}
        )
    )

    assert [found for page in pages for found in page["inferenceProfileSummaries"]] == whole
    assert all(len(page["inferenceProfileSummaries"]) <= size for page in pages)
    assert "nextToken" not in pages[-1]
    keys = [(found["updatedAt"], found["inferenceProfileArn"]) for found in whole]
    assert keys == sorted(keys)


def test_names_need_not_be_unique(bedrock: Any, profile: str) -> None:
    twin = bedrock.create_inference_profile(
        inferenceProfileName="team a", modelSource={"copyFrom": arn_of(bedrock)}
    )["inferenceProfileArn"]

    assert twin != profile
    bedrock.delete_inference_profile(inferenceProfileIdentifier=twin)


def test_a_repeated_client_request_token_answers_the_first_arn(bedrock: Any) -> None:
    request = {
        "inferenceProfileName": "once",
        "modelSource": {"copyFrom": arn_of(bedrock)},
        "clientRequestToken": "token-1",
    }

    first = bedrock.create_inference_profile(**request)["inferenceProfileArn"]
    again = bedrock.create_inference_profile(**request)["inferenceProfileArn"]
    with pytest.raises(ClientError) as refusal:
        bedrock.create_inference_profile(**request | {"inferenceProfileName": "twice"})

    assert again == first
    assert refusal.value.response["Error"]["Code"] == "ConflictException"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    bedrock.delete_inference_profile(inferenceProfileIdentifier=first)


def test_what_is_deleted_is_gone(bedrock: Any, profile: str) -> None:
    bedrock.delete_inference_profile(inferenceProfileIdentifier=profile)

    for call in (bedrock.get_inference_profile, bedrock.delete_inference_profile):
        with pytest.raises(ClientError) as refusal:
            call(inferenceProfileIdentifier=profile)
        assert refusal.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_a_system_profile_cannot_be_deleted(bedrock: Any) -> None:
    for identifier in (NOVA, arn_of(bedrock)):
        with pytest.raises(ClientError) as refusal:
            bedrock.delete_inference_profile(inferenceProfileIdentifier=identifier)
        assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_token_of_another_listing_is_refused(bedrock: Any) -> None:
    token = bedrock.list_inference_profiles(maxResults=1)["nextToken"]

    for attempt in (
        {"nextToken": token, "typeEquals": "SYSTEM_DEFINED"},
        {"nextToken": token[:-1]},
        {"nextToken": "forged"},
    ):
        with pytest.raises(ClientError) as refusal:
            bedrock.list_inference_profiles(**attempt)
        assert refusal.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError):
        bedrock.list_provisioned_model_throughputs(nextToken=token)


def test_tags_live_with_their_resource(bedrock: Any, profile: str) -> None:
    bedrock.tag_resource(
        resourceARN=profile, tags=[{"key": "team", "value": "a"}, {"key": "env", "value": ""}]
    )
    bedrock.tag_resource(resourceARN=profile, tags=[{"key": "team", "value": "b"}])
    bedrock.untag_resource(resourceARN=profile, tagKeys=["env", "never there"])

    assert bedrock.list_tags_for_resource(resourceARN=profile)["tags"] == [
        {"key": "team", "value": "b"}
    ]
    bedrock.delete_inference_profile(inferenceProfileIdentifier=profile)
    with pytest.raises(ClientError) as refusal:
        bedrock.list_tags_for_resource(resourceARN=profile)
    assert refusal.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_more_than_fifty_tags_are_too_many(bedrock: Any, profile: str) -> None:
    tags = [{"key": f"k{number}", "value": "v"} for number in range(51)]

    bedrock.tag_resource(resourceARN=profile, tags=tags[:50])
    source = {"copyFrom": arn_of(bedrock)}
    for call, parameters in (
        (bedrock.tag_resource, {"resourceARN": profile, "tags": tags[50:]}),
        (
            bedrock.create_inference_profile,
            {"inferenceProfileName": "x", "modelSource": source, "tags": tags},
        ),
    ):
        with pytest.raises(ClientError) as refusal:
            call(**parameters)
        assert refusal.value.response["Error"]["Code"] == "TooManyTagsException"
        assert refusal.value.response["resourceName"].startswith("arn:aws:bedrock:")
    assert len(bedrock.list_tags_for_resource(resourceARN=profile)["tags"]) == 50


@pytest.mark.parametrize(
    "tags",
    [
        [{"key": "twice", "value": "a"}, {"key": "twice", "value": "b"}],
        [{"key": "aws:reserved", "value": "a"}],
    ],
)
def test_tags_that_amazon_refuses(bedrock: Any, profile: str, tags: list[dict[str, str]]) -> None:
    with pytest.raises(ClientError) as refusal:
        bedrock.tag_resource(resourceARN=profile, tags=tags)

    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    assert bedrock.list_tags_for_resource(resourceARN=profile)["tags"] == []
