import asyncio

import pytest

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.runtime.target import Target, Targets
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, Catalogue
from outcrop.wire.errors import (
    AwsError,
    ModelNotReadyException,
    ResourceNotFoundException,
    ValidationException,
)
from tests.fakes.records import (
    FakeInferenceProfiles,
    FakeProvisionedModelThroughputs,
    inference_profile,
    provisioned_model,
)
from tests.runtime.requests import ACCOUNT, caller

BEDROCK = f"arn:aws:bedrock:us-east-1:{ACCOUNT}"
NOVA_ARN = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
PROFILE_ARN = f"{BEDROCK}:application-inference-profile/abcdefghijkl"
IN_SERVICE = f"{BEDROCK}:provisioned-model/inserviceaaa"
UPDATING = f"{BEDROCK}:provisioned-model/updatingaaaa"
CREATING = f"{BEDROCK}:provisioned-model/creatingaaaa"
FAILED = f"{BEDROCK}:provisioned-model/failedaaaaaa"
INVALID = "The provided model identifier is invalid."
ON_DEMAND = "with on-demand throughput isn\u2019t supported. Retry your request with the ID or ARN"


def candidate(name: str, region: str | None = None) -> Candidate:
    server = ModelServer(name, Address.parse("http://127.0.0.1:1"), timeouts=TimeoutsConfig())
    return Candidate(server=server, dialect="openai", served_as="x", region=region)


def candidates(target: Target) -> list[Candidate]:
    return [found for pool in target.pools for found in pool.candidates]


STAND_IN = candidate("embedded")


def resolve(
    model_id: str, region: str = "us-east-1", partition: str = "aws", fleet: Fleet | None = None
) -> Target:
    fleet = fleet or Fleet([], stand_in=STAND_IN)
    profile = inference_profile(
        PROFILE_ARN,
        "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0",
        NOVA_ARN,
    )
    targets = Targets(
        Catalogue(serves=fleet.serves),
        fleet,
        FakeInferenceProfiles([profile]),
        FakeProvisionedModelThroughputs(
            [
                provisioned_model(IN_SERVICE, NOVA_ARN),
                provisioned_model(UPDATING, f"{NOVA_ARN}:24k", "Updating"),
                provisioned_model(CREATING, NOVA_ARN, "Creating"),
                provisioned_model(FAILED, NOVA_ARN, "Failed"),
            ]
        ),
    )
    return asyncio.run(targets.resolve(caller(region, partition), model_id))


def test_a_price_is_that_of_the_system_profile_that_was_called_or_copied() -> None:
    system_profile = Catalogue().system_profile("us-east-1", "us.amazon.nova-lite-v1:0")
    assert system_profile
    targets = Targets(
        Catalogue(),
        Fleet([], stand_in=STAND_IN),
        FakeInferenceProfiles([inference_profile(PROFILE_ARN, *system_profile.model_arns)]),
        FakeProvisionedModelThroughputs(),
    )

    copied = asyncio.run(targets.resolve(caller(), PROFILE_ARN))
    called = resolve("us.amazon.nova-lite-v1:0")
    plain = resolve("amazon.nova-lite-v1:0")

    assert (copied.profile_id, copied.tagged_arn) == ("us.amazon.nova-lite-v1:0", PROFILE_ARN)
    assert (called.profile_id, called.tagged_arn) == ("us.amazon.nova-lite-v1:0", None)
    assert (plain.profile_id, plain.tagged_arn) == (None, None)


@pytest.mark.parametrize(
    ("model_id", "foundation_model", "regions"),
    [
        ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", ("us-east-1",)),
        (NOVA_ARN, "amazon.nova-lite-v1:0", ("us-east-1",)),
        (EMBEDDED_MODEL_ID, EMBEDDED_MODEL_ID, ("us-east-1",)),
        (
            "us.amazon.nova-lite-v1:0",
            "amazon.nova-lite-v1:0",
            ("us-east-1", "us-west-2", "us-east-2"),
        ),
        (
            f"{BEDROCK}:inference-profile/us.amazon.nova-lite-v1:0",
            "amazon.nova-lite-v1:0",
            ("us-east-1", "us-west-2", "us-east-2"),
        ),
        ("global.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0", ("us-east-1", "")),
        (PROFILE_ARN, "amazon.nova-lite-v1:0", ("us-east-1", "us-west-2")),
        (IN_SERVICE, "amazon.nova-lite-v1:0", ("us-east-1",)),
        (UPDATING, "amazon.nova-lite-v1:0", ("us-east-1",)),
    ],
)
def test_an_identifier_names_a_model_and_where_it_may_run(
    model_id: str, foundation_model: str, regions: tuple[str, ...]
) -> None:
    target = resolve(model_id)

    assert target.foundation_model.model_id == foundation_model
    assert target.regions == regions
    assert candidates(target) == [STAND_IN]


def test_a_target_remembers_the_profile_or_the_units_it_came_through() -> None:
    assert resolve(PROFILE_ARN).inference_profile_arn == PROFILE_ARN
    assert resolve(IN_SERVICE).provisioned_model_arn == IN_SERVICE
    assert (
        resolve("us.amazon.nova-lite-v1:0").inference_profile_arn
        == f"{BEDROCK}:inference-profile/us.amazon.nova-lite-v1:0"
    )


@pytest.mark.parametrize(
    ("model_id", "error", "words"),
    [
        ("amazon.nova-2-lite-v1:0", ValidationException, ON_DEMAND),
        ("amazon.nova-lite-v1:0:300k", ValidationException, ON_DEMAND),
        ("nobody.model-v1:0", ValidationException, INVALID),
        ("abcdefghijkl", ValidationException, INVALID),
        ("eu.amazon.nova-lite-v1:0", ValidationException, INVALID),
        ("arn:nonsense", ValidationException, INVALID),
        (NOVA_ARN.replace("us-east-1", "us-west-2"), ValidationException, INVALID),
        (NOVA_ARN.replace("us-east-1", ""), ValidationException, INVALID),
        (NOVA_ARN.replace("arn:aws:", "arn:aws-us-gov:"), ValidationException, INVALID),
        (PROFILE_ARN.replace("us-east-1", "us-west-2"), ValidationException, INVALID),
        (PROFILE_ARN.replace(ACCOUNT, "999999999999"), ValidationException, INVALID),
        (PROFILE_ARN.replace("abcdefghijkl", "zzzzzzzzzzzz"), ValidationException, INVALID),
        (f"{BEDROCK}:inference-profile/us.nobody", ValidationException, INVALID),
        (f"{BEDROCK}:custom-model/amazon.x/abcdefghijkl", ValidationException, INVALID),
        (CREATING, ModelNotReadyException, "its status is Creating. Wait and try"),
        (FAILED, ModelNotReadyException, "its status is Failed. Its failureMessage says why."),
        (
            IN_SERVICE.replace("inserviceaaa", "zzzzzzzzzzzz"),
            ResourceNotFoundException,
            "Could not resolve the foundation model",
        ),
    ],
)
def test_what_cannot_be_called_is_refused_in_amazons_words(
    model_id: str, error: type[AwsError], words: str
) -> None:
    with pytest.raises(error) as caught:
        resolve(model_id)

    assert words in caught.value.message


def test_govcloud_is_a_partition_of_its_own() -> None:
    target = resolve(
        "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "us-gov-west-1", "aws-us-gov"
    )

    assert target.regions == ("us-gov-west-1",)


def test_servers_stand_in_the_order_of_the_regions_and_the_source_comes_first() -> None:
    west, east, anywhere = (
        candidate("west", "us-west-2"),
        candidate("east", "us-east-1"),
        candidate("anywhere"),
    )
    fleet = Fleet(
        [Served("amazon.nova-lite-v1:0", server) for server in (west, anywhere, east)],
        stand_in=None,
    )

    through_profile = resolve("us.amazon.nova-lite-v1:0", fleet=fleet)
    on_demand = resolve("amazon.nova-lite-v1:0", fleet=fleet)

    assert candidates(through_profile) == [anywhere, east, west]
    assert candidates(on_demand) == [anywhere, east]


def test_a_model_that_nobody_serves_has_no_pools() -> None:
    fleet = Fleet([], stand_in=None)

    assert not resolve("amazon.nova-lite-v1:0", fleet=fleet).pools


def test_only_text_models_are_stood_in_for_and_it_is_said() -> None:
    assert resolve("amazon.nova-lite-v1:0").stands_in
    assert not resolve("amazon.titan-embed-text-v2:0").pools
