"""AWS's own policies by ARN, groups, and paths in names: attached, and what they then allow."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from outcrop.iam.access import AuthorizationRequest, Resource, authorized
from outcrop.iam.administration import Administration, NewIdentity, RefusedError
from outcrop.iam.directory import Directory
from outcrop.iam.managed_policies import document_of, known_arns
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.document import parse
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.sealing import Sealer
from outcrop.store.errors import StoreError
from outcrop.store.identity_records import UserRecord
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock
from tests.iam.policy.world import statements, text

ACCOUNT = "444455556666"
AWS = "arn:aws:iam::aws:policy/"
MODEL = Resource(arn="arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0")
LISTING = text(statements({"Effect": "Allow", "Action": "bedrock:List*", "Resource": "*"}))


class World:
    def __init__(self, store: Store, clock: FakeClock) -> None:
        keys = SealedKeys(store.access_keys, Sealer([bytes(32)]))
        self.store = store
        self.operator = Administration(store.identities, keys, clock)
        self.directory = Directory(store.identities, keys)
        self.now = clock()

    async def user(self, name: str, *, groups: tuple[str, ...] = (), **given: Any) -> None:
        new = NewIdentity(account_id=ACCOUNT, name=name, **given)
        await self.operator.put_user(new, groups=groups)

    async def group(self, name: str, **given: Any) -> None:
        await self.operator.put_group(NewIdentity(account_id=ACCOUNT, name=name, **given))

    async def passes(
        self, arn: str, operation: str, *resources: Resource, **asked: Any
    ) -> tuple[bool, str | None]:
        """Whether, and by which policy's ARN."""
        found = await self.directory.named(f"arn:aws:iam::{ACCOUNT}:{arn}", "us-east-1")
        assert found
        environment = Environment(now=self.now, is_secure=True)
        request = AuthorizationRequest(
            operation=operation, environment=environment, resources=resources, **asked
        )
        decision = authorized(request, found)
        return decision.allowed, decision.policy.arn if decision.policy else None


def run(folder: Path, clock: FakeClock, main: Callable[[World], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_store(folder / "db", clock=clock) as store:
            world = World(store, clock)
            await world.operator.put_account(ACCOUNT, "search", ())
            await main(world)

    asyncio.run(opened())


@pytest.mark.parametrize("arn", known_arns())
def test_every_policy_of_aws_is_one_that_is_understood(arn: str) -> None:
    document = document_of(arn)

    assert document
    assert parse(document, "identity-based policy", most_characters=20_000).statements


EVERYTHING = {
    *("Converse", "ListFoundationModels", "DeleteInferenceProfile"),
    "PutModelInvocationLoggingConfiguration",
}
DOES = {
    "AmazonBedrockFullAccess": EVERYTHING,
    "AmazonBedrockLimitedAccess": {"Converse", "ListFoundationModels", "DeleteInferenceProfile"},
    "AmazonBedrockReadOnly": {"ListFoundationModels"},
    "AmazonBedrockMantleInferenceAccess": set(),
    "AdministratorAccess": EVERYTHING,
    "PowerUserAccess": EVERYTHING,
}


@pytest.mark.parametrize(("policy", "allowed"), DOES.items())
def test_a_policy_of_aws_allows_what_it_says(
    tmp_path: Path, clock: FakeClock, policy: str, allowed: set[str]
) -> None:
    profile = Resource(arn=f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/x")
    asked = {
        "Converse": (MODEL,),
        "ListFoundationModels": (),
        "DeleteInferenceProfile": (profile,),
        "PutModelInvocationLoggingConfiguration": (),
    }

    async def main(world: World) -> None:
        await world.user("ada", policies=(AWS + policy,))
        for operation, resources in asked.items():
            passes, by = await world.passes("user/ada", operation, *resources)
            assert passes is (operation in allowed), operation
            assert by == (AWS + policy if passes else None)

    run(tmp_path, clock, main)


def test_api_keys_go_with_the_limited_access_that_the_console_gives_them(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main(world: World) -> None:
        for policy, passes in (("Limited", True), ("ReadOnly", False)):
            suffix = "Access" if policy == "Limited" else ""
            await world.user("ada", policies=(f"{AWS}AmazonBedrock{policy}{suffix}",))
            found, _ = await world.passes(
                "user/ada", "Converse", MODEL, bearer_token_type="LONG_TERM"
            )
            assert found is passes

    run(tmp_path, clock, main)


@pytest.mark.parametrize(
    "policy", ["arn:aws:iam::aws:policy/Nil", f"arn:aws:iam::{ACCOUNT}:policy/Own", "Nil"]
)
def test_an_unknown_policy_is_refused_by_name(
    tmp_path: Path, clock: FakeClock, policy: str
) -> None:
    async def main(world: World) -> None:
        for given in ({"policies": (policy,)}, {"boundary": policy}):
            with pytest.raises(RefusedError, match=f"There is no policy {policy}"):
                await world.user("ada", **given)

    run(tmp_path, clock, main)


def test_a_user_may_what_its_groups_may(tmp_path: Path, clock: FakeClock) -> None:
    async def main(world: World) -> None:
        await world.operator.put_policy(ACCOUNT, "Listing", LISTING)
        await world.group("readers", policies=("Listing",))
        await world.group("callers", policies=(AWS + "AmazonBedrockLimitedAccess",))
        await world.user("ada", groups=("readers",))

        assert (await world.passes("user/ada", "ListFoundationModels"))[0]
        assert not (await world.passes("user/ada", "Converse", MODEL))[0]

        await world.user("ada", groups=("readers", "callers"))
        assert (await world.passes("user/ada", "Converse", MODEL))[0]

        barred = text(statements({"Effect": "Deny", "Action": "*", "Resource": "*"}))
        await world.group("callers", inline={"barred": barred})
        assert not (await world.passes("user/ada", "ListFoundationModels"))[0]

    run(tmp_path, clock, main)


def test_a_group_stays_while_it_has_users_and_its_policies_stay_with_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main(world: World) -> None:
        operator = world.operator
        await operator.put_policy(ACCOUNT, "Listing", LISTING)
        await world.group("readers", policies=("Listing",))
        await world.user("ada", groups=("readers",))

        with pytest.raises(RefusedError, match="attached to the group readers"):
            await operator.delete_policy(ACCOUNT, "Listing")
        with pytest.raises(RefusedError, match="ada is in the group readers"):
            await operator.delete_group(ACCOUNT, "readers")
        with pytest.raises(RefusedError, match="no group writers"):
            await world.user("ada", groups=("writers",))
        assert (await world.passes("user/ada", "ListFoundationModels"))[0]

        await world.user("ada")
        await operator.delete_group(ACCOUNT, "readers")
        await operator.delete_policy(ACCOUNT, "Listing")

    run(tmp_path, clock, main)


def test_nobody_goes_on_without_a_group_that_may_deny(tmp_path: Path, clock: FakeClock) -> None:
    async def main(world: World) -> None:
        lost = UserRecord(user_id="AIDA", created_at=world.now, groups=("lost",))
        await world.store.identities.edit(lambda editor: editor.put(ACCOUNT, "ada", lost))

        with pytest.raises(StoreError, match="the group lost"):
            await world.passes("user/ada", "ListFoundationModels")

    run(tmp_path, clock, main)


def test_a_path_is_part_of_who_somebody_is(tmp_path: Path, clock: FakeClock) -> None:
    async def main(world: World) -> None:
        await world.user("ada", path="/team/search/", policies=(AWS + "AmazonBedrockReadOnly",))

        found = await world.directory.named(
            f"arn:aws:iam::{ACCOUNT}:user/team/search/ada", "us-east-1"
        )
        assert found
        assert found.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/team/search/ada"
        assert found.principal.user_name == "ada"
        for wrong in ("user/ada", "user/team/ada", "user/team/search/ada/", "role/ada"):
            assert await world.directory.named(f"arn:aws:iam::{ACCOUNT}:{wrong}", "x") is None
        with pytest.raises(RefusedError, match="'team' is no path"):
            await world.user("grace", path="team")

    run(tmp_path, clock, main)
