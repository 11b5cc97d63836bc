"""The table of actions is held to the service authorization reference and to what is served."""

import tomllib
from pathlib import Path

import pytest

from outcrop.iam.actions import ACTIONS, Action
from tests.iam.service_authorization import ACTIONS as REFERENCE, TAGGABLE

OPERATIONS = tomllib.loads((Path(__file__).parents[2] / "tools/operations.toml").read_text())
SERVED = [name for names in OPERATIONS.values() for name in names]

NOT_SERVED = {
    "async-invoke",
    "billingview",
    "bedrock-marketplace-model-endpoint",
    "custom-model-deployment",
    "default-prompt-router",
    "imported-model",
    "prompt-router",
    # Keys: no prompt routers; the tags that InvokeModel knows are those of StartAsyncInvoke.
    "bedrock:PromptRouterArn",
}


def test_every_operation_has_its_action() -> None:
    assert set(ACTIONS) == set(SERVED)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
def test_an_action_has_the_resources_and_keys_of_the_reference(action: Action) -> None:
    resource_types, condition_keys = REFERENCE[action.name.partition(":")[2]]
    not_served = NOT_SERVED
    if action.name == "bedrock:InvokeModel":
        not_served = NOT_SERVED | {"aws:RequestTag", "aws:TagKeys"}

    if action.name.endswith("ResourcePolicy"):
        # Our own: what can be shared here is not what Amazon has policies at.
        assert not resource_types & TAGGABLE
        resource_types = TAGGABLE

    assert set(action.resource_types) == resource_types - not_served
    assert set(action.condition_keys) == condition_keys - not_served
