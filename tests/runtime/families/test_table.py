from typing import Any

import pytest

from outcrop.runtime.families.anthropic import Anthropic
from outcrop.runtime.families.nova import Nova
from outcrop.runtime.families.table import FAMILIES, family_of
from outcrop.store.catalogue import Catalogue


@pytest.mark.parametrize(
    ("model_id", "family"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", Anthropic),
        ("amazon.nova-lite-v1:0", Nova),
    ],
)
def test_a_models_id_tells_its_family(model_id: str, family: type[Any]) -> None:
    assert isinstance(family_of(model_id), family)


def test_a_model_of_an_unknown_family_has_none() -> None:
    assert family_of("stability.sd3-5-large-v1:0") is None


def test_the_longest_beginning_decides() -> None:
    assert family_of("openai.gpt-oss-20b-1:0") is FAMILIES["openai.gpt-oss-"]


def test_every_model_that_converses_has_a_family_but_those_that_watch_videos() -> None:
    models = Catalogue().foundation_models("us-east-1")

    without = [m for m in models if m.converses and family_of(m.model_id) is None]

    assert {model.provider_name for model in without} == {"TwelveLabs"}
