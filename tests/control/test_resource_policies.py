import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.control.resource_policies import SharedResources
from outcrop.iam.resource_policies import ResourcePolicies
from outcrop.wire.errors import AwsError, ResourceNotFoundException, ValidationException
from outcrop.wire.shapes.bedrock import (
    CreateInferenceProfileRequest,
    DeleteResourcePolicyRequest,
    GetResourcePolicyRequest,
    InferenceProfileModelSource,
    PutResourcePolicyRequest,
)
from tests.clocks import FakeClock
from tests.control.world import CALLER, MODEL_ARN, World, world

ALLOWING = {"Effect": "Allow", "Principal": "*", "Action": "bedrock:*", "Resource": "*"}


def document(*given: dict[str, Any], version: str = "2012-10-17") -> str:
    return msgspec.json.encode({"Version": version, "Statement": list(given)}).decode()


class Changes:
    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> None:
        self.told += 1


def shared_of(there: World, changed: Callable[[], None] = lambda: None) -> SharedResources:
    records = there.store.resource_policies
    policies = ResourcePolicies(records, lambda: 0)
    return SharedResources(records, policies, tags_of=there.store.tags.current, changed=changed)


async def made(there: World) -> str:
    request = CreateInferenceProfileRequest(
        inference_profile_name="shared",
        model_source=InferenceProfileModelSource(copy_from=MODEL_ARN),
    )
    created = await there.profiles.create_inference_profile(CALLER, request)
    return created.inference_profile_arn


def refused(folder: Path, text: str) -> str:
    """What is said of the document."""

    async def main() -> str:
        async with world(folder, FakeClock()) as there:
            shared = shared_of(there)
            request = PutResourcePolicyRequest(resource_arn=await made(there), resource_policy=text)
            with pytest.raises(ValidationException) as refusal:
                await shared.put_resource_policy(CALLER, request)
            return refusal.value.message

    return asyncio.run(main())


def test_every_change_is_told(tmp_path: Path) -> None:
    changes = Changes()

    async def main() -> None:
        async with world(tmp_path, FakeClock()) as there:
            shared = shared_of(there, changes)
            arn, text = await made(there), document(ALLOWING)
            put = PutResourcePolicyRequest(resource_arn=arn, resource_policy=text)
            assert (await shared.put_resource_policy(CALLER, put)).resource_arn == arn
            get = GetResourcePolicyRequest(resource_arn=arn)
            assert (await shared.get_resource_policy(CALLER, get)).resource_policy == text
            delete = DeleteResourcePolicyRequest(resource_arn=arn)
            await shared.delete_resource_policy(CALLER, delete)
            with pytest.raises(ResourceNotFoundException):
                await shared.delete_resource_policy(CALLER, delete)

    asyncio.run(main())

    assert changes.told == 2


@pytest.mark.parametrize("part", ["Principal", "Action", "Resource"])
def test_no_element_may_be_missing(tmp_path: Path, part: str) -> None:
    given = {name: value for name, value in ALLOWING.items() if name != part}

    assert "at `$.Statement[0]" in refused(tmp_path, document(given))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"Resource": "arn:aws:bedrock:*:*:provisioned-model/*"}, "Statement[1]"),
        ({"Resource": MODEL_ARN, "Sid": "Models"}, "Models"),
        ({"Action": "bedrock:CreateInferenceProfile*Job"}, "Statement[1]"),
        ({"Action": ["s3:*", "bedrock:ApplyGuardrail"]}, "Statement[1]"),
        ({"Action": "bedrock:DeleteProvisionedModelThroughput"}, "Statement[1]"),
    ],
)
def test_every_statement_has_to_be_of_the_resource(
    tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    message = refused(tmp_path, document(ALLOWING, {**ALLOWING, **change}))

    assert message.endswith(f"at `$.{place}`")


def test_not_resource_has_to_leave_it_in(tmp_path: Path) -> None:
    given = {name: value for name, value in ALLOWING.items() if name != "Resource"}
    everything_else = {**given, "NotResource": "arn:aws:bedrock:*:*:application-*"}

    assert "Policy has invalid resource" in refused(tmp_path, document(everything_else))


def test_a_resource_that_depends_on_who_asks_is_taken(tmp_path: Path) -> None:
    own = "arn:aws:bedrock:*:*:application-inference-profile/${aws:PrincipalTag/profile}"

    async def main() -> None:
        async with world(tmp_path, FakeClock()) as there:
            shared = shared_of(there)
            text = document({**ALLOWING, "Resource": own})
            arn = await made(there)
            request = PutResourcePolicyRequest(resource_arn=arn, resource_policy=text)
            await shared.put_resource_policy(CALLER, request)

    asyncio.run(main())


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl",
        "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:111122223333:guardrail/abcdefghijkl",
        "arn:aws:bedrock:eu-west-1:111122223333:provisioned-model/abcdefghijkl",
        "arn:aws:bedrock:us-east-1:444455556666:provisioned-model/abcdefghijkl",
        "arn:aws-cn:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl",
        "abcdefghijkl",
    ],
)
def test_what_has_no_policies_is_refused(tmp_path: Path, arn: str) -> None:
    async def main() -> AwsError:
        async with world(tmp_path, FakeClock()) as there:
            shared = shared_of(there)
            request = PutResourcePolicyRequest(resource_arn=arn, resource_policy=document(ALLOWING))
            return await failure(shared.put_resource_policy(CALLER, request))

    assert asyncio.run(main()).name == "ValidationException"


async def failure(call: Coroutine[Any, Any, object]) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await call
    return caught.value
