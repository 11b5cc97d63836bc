from datetime import UTC, datetime
from typing import Any

import pytest

from outcrop.store.catalogue import (
    EMBEDDED_MODEL_ID,
    Catalogue,
    CustomModel,
    FoundationModel,
    SystemProfile,
    without_context,
)
from outcrop.wire.arn import Arn

CATALOGUE = Catalogue()


def serves_everything(_model: FoundationModel, _region: str) -> bool:
    return True


def profile(region: str, profile_id: str) -> SystemProfile:
    found = CATALOGUE.system_profile(region, profile_id)
    assert found is not None
    return found


def model(region: str, model_id: str, catalogue: Catalogue = CATALOGUE) -> FoundationModel:
    found = catalogue.foundation_model(region, model_id)
    assert found is not None
    return found


def regions_of(found: SystemProfile) -> list[str]:
    return [arn.split(":")[3] for arn in found.model_arns]


def test_a_region_has_its_own_models_and_profiles() -> None:
    assert CATALOGUE.foundation_model("us-east-1", "amazon.titan-embed-text-v1") is not None
    assert CATALOGUE.foundation_model("sa-east-1", "amazon.nova-lite-v1:0") is None
    assert CATALOGUE.system_profile("eu-west-1", "us.amazon.nova-lite-v1:0") is None
    assert CATALOGUE.system_profiles("nowhere-1") == ()


def test_every_profile_leads_to_a_model_that_is_known() -> None:
    for region in ("us-east-1", "eu-west-1", "ap-southeast-2", "us-gov-west-1"):
        for found in CATALOGUE.system_profiles(region):
            assert CATALOGUE.model_anywhere(found.foundation_model) is not None


@pytest.mark.parametrize(
    ("region", "profile_id", "regions"),
    [
        ("us-east-2", "us.amazon.nova-lite-v1:0", ["us-east-1", "us-west-2", "us-east-2"]),
        ("us-east-1", "us.amazon.nova-lite-v1:0", ["us-east-1", "us-west-2", "us-east-2"]),
        (
            "ca-central-1",
            "us.amazon.nova-2-lite-v1:0",
            ["us-east-1", "us-east-2", "ca-central-1", "us-west-2"],
        ),
        (
            "us-west-1",
            "us.openai.gpt-6.1-terra",
            ["us-east-1", "us-east-2", "us-west-2", "us-west-1"],
        ),
        ("eu-west-1", "global.amazon.nova-2-lite-v1:0", ["", "eu-west-1"]),
    ],
)
def test_models_stand_in_the_order_that_was_observed(
    region: str, profile_id: str, regions: list[str]
) -> None:
    assert regions_of(profile(region, profile_id)) == regions


def test_govcloud_arns_are_of_their_own_partition() -> None:
    found = profile("us-gov-west-1", "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0")

    (arn,) = found.model_arns
    assert arn.startswith("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.")


def test_profiles_come_by_the_date_of_their_last_change() -> None:
    dates = [found.updated_at for found in CATALOGUE.system_profiles("us-east-1")]

    assert dates == sorted(dates)
    assert profile("us-east-1", "us.amazon.nova-lite-v1:0").updated_at == datetime(
        2024, 11, 29, 13, 23, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("region", "model_id", "inference_types"),
    [
        ("us-east-1", "amazon.nova-lite-v1:0", ("ON_DEMAND", "PROVISIONED", "INFERENCE_PROFILE")),
        ("us-west-1", "amazon.nova-lite-v1:0", ("INFERENCE_PROFILE",)),
        ("us-east-1", EMBEDDED_MODEL_ID, ("ON_DEMAND",)),
        ("nowhere-1", EMBEDDED_MODEL_ID, ("ON_DEMAND",)),
    ],
)
def test_how_a_model_can_be_called_depends_on_the_region(
    region: str, model_id: str, inference_types: tuple[str, ...]
) -> None:
    assert model(region, model_id).inference_types_supported == inference_types


def test_what_runs_here_can_be_bought_under_any_of_its_names() -> None:
    catalogue = Catalogue(serves=serves_everything)

    assert (
        "PROVISIONED"
        in model("eu-west-3", "amazon.nova-lite-v1:0", catalogue).inference_types_supported
    )
    for model_id in ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0:300k"):
        variant = catalogue.provisioned_variant("eu-west-3", model_id)
        assert variant is not None
        assert variant.foundation_model == "amazon.nova-lite-v1:0"


def test_images_are_not_bought_because_text_runs_here() -> None:
    catalogue = Catalogue(serves=serves_everything)

    found = model("us-west-2", "stability.sd3-5-large-v1:0", catalogue)

    assert "PROVISIONED" not in found.inference_types_supported


def test_a_context_length_can_be_bought_where_amazon_sells_it() -> None:
    bought = CATALOGUE.provisioned_model("us-east-1", "amazon.nova-lite-v1:0:300k")

    assert bought is not None
    assert bought.model_id == "amazon.nova-lite-v1:0"
    assert CATALOGUE.provisioned_model("us-west-2", "amazon.nova-lite-v1:0:300k") is None


@pytest.mark.parametrize("catalogue", [CATALOGUE, Catalogue(serves=serves_everything)])
@pytest.mark.parametrize("region", ["us-east-1", "us-west-2", "ap-south-1", "nowhere-1"])
def test_what_says_provisioned_can_be_bought_and_nothing_else(
    catalogue: Catalogue, region: str
) -> None:
    for found in catalogue.foundation_models(region):
        says = "PROVISIONED" in found.inference_types_supported
        assert says == (catalogue.provisioned_variant(region, found.model_id) is not None)


def test_each_context_length_that_is_sold_is_listed() -> None:
    listed = {found.model_id: found for found in CATALOGUE.foundation_models("us-east-1")}

    assert listed["amazon.nova-lite-v1:0:24k"].inference_types_supported == ("PROVISIONED",)
    assert listed["amazon.nova-canvas-v1:0"].inference_types_supported == ("PROVISIONED",)
    assert "PROVISIONED" in listed["amazon.nova-lite-v1:0"].inference_types_supported


def test_retired_models_are_found_and_not_listed() -> None:
    retired = "meta.llama3-2-11b-instruct-v1:0"

    assert model("us-west-2", retired).lifecycle_status == "LEGACY"
    assert retired not in {m.model_id for m in CATALOGUE.foundation_models("us-west-2")}
    assert CATALOGUE.provisioned_model("us-west-2", f"{retired}:128k") is not None


def test_models_of_another_endpoint_and_internal_ids_are_left_out() -> None:
    listed = {m.model_id for m in CATALOGUE.foundation_models("us-east-1")}

    assert "openai.gpt-oss-120b-1:0" in listed
    assert "openai.gpt-oss-120b" not in listed
    assert not CATALOGUE.knows("anthropic.claude-mulberry-trn2-208k-20251001")


def test_the_model_we_ship_is_what_it_says() -> None:
    ours = model("us-east-1", EMBEDDED_MODEL_ID)

    assert ours.provider_name == "Outcrop"
    assert "135" in ours.model_name
    assert "Apache-2.0" in ours.model_name


@pytest.mark.parametrize(
    ("model_id", "uses"),
    [
        ("amazon.nova-lite-v1:0", {"converses"}),
        (EMBEDDED_MODEL_ID, {"converses"}),
        ("amazon.titan-embed-text-v2:0", {"embeds"}),
        ("amazon.rerank-v1:0", set()),
        ("stability.sd3-5-large-v1:0", set()),
    ],
)
def test_what_a_model_is_for(model_id: str, uses: set[str]) -> None:
    found = CATALOGUE.model_anywhere(model_id)

    assert found is not None
    assert {use for use in ("converses", "embeds") if getattr(found, use)} == uses


@pytest.mark.parametrize("identifier", ["abcdefghijkl", "my-model"])
def test_a_custom_model_is_found_where_its_base_is_on_offer(identifier: str) -> None:
    members: dict[str, Any] = {
        "custom_model_id": "abcdefghijkl",
        "custom_model_name": "my-model",
        "base_model_id": "amazon.nova-lite-v1:0",
    }
    custom = CustomModel(**members)
    catalogue = Catalogue(custom_models=[custom])

    assert catalogue.custom_model("us-east-1", identifier) == custom
    assert catalogue.custom_model("sa-east-1", identifier) is None
    # What it answers for is called by its name: by its id, nobody would ever find it.
    assert catalogue.knows(identifier) == (identifier == "my-model")
    assert custom.arn("aws", "us-east-1", "1").endswith(
        ":custom-model/amazon.nova-lite-v1:0/abcdefghijkl"
    )
    bought = catalogue.bought_model("us-east-1", Arn.parse(custom.arn("aws", "us-east-1", "1")))
    assert bought is not None
    assert (bought.model_id, bought.native_model_id) == ("my-model", "amazon.nova-lite-v1:0")


def test_what_is_served_is_asked_again_when_it_may_have_changed() -> None:
    serving = False
    catalogue = Catalogue(serves=lambda _model, _region: serving)
    model_id = EMBEDDED_MODEL_ID
    before = catalogue.provisioned_model("us-east-1", model_id)

    serving = True
    kept = catalogue.provisioned_model("us-east-1", model_id)
    catalogue.refresh()

    assert (before, kept) == (None, None)
    assert catalogue.provisioned_model("us-east-1", model_id) is not None


def test_an_id_with_a_context_length_leads_to_its_model_in_any_region() -> None:
    catalogue = Catalogue(serves=lambda _model, _region: True)
    variants = [
        variant
        for region in ("us-east-1", "us-west-2", "ap-south-1", "eu-west-3")
        for model in catalogue.foundation_models(region)
        for variant in model.provisioned_variants
    ]

    assert len(variants) > 100
    for variant in variants:
        assert without_context(variant.model_id) == variant.foundation_model
    assert without_context("cohere.embed-english-v3:0:512") == "cohere.embed-english-v3"
    assert without_context("no.such-model") == "no.such-model"
    retired = "amazon.titan-text-express-v1"
    assert without_context(f"{retired}:0:8k") == retired


def test_a_retired_model_is_known_in_every_region_and_listed_in_none() -> None:
    catalogue = Catalogue()

    for region in ("us-east-1", "eu-central-2"):
        for model_id in ("amazon.titan-text-express-v1", "cohere.command-r-plus-v1:0"):
            model = catalogue.foundation_model(region, model_id)
            assert model is not None
            assert "ON_DEMAND" in model.inference_types_supported
            assert catalogue.listed_model(region, model_id) is None
