import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from outcrop.iam.authenticator import Identified
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import PolicySet
from outcrop.iam.resource_policies import MOST_KNOWN, ResourcePolicies
from tests.iam.policy.world import ACCOUNT, ROLE, SESSION, USER, root, session, statements, user

OWNER = "999999999999"
ARN = f"arn:aws:bedrock:us-east-1:{OWNER}:application-inference-profile/abcdefghijkl"
OWN = ARN.replace(OWNER, ACCOUNT)


class Documents:
    """In memory; counts what is read."""

    def __init__(self, **documents: str) -> None:
        self.documents: dict[str, str] = dict(documents)
        self.version = 0
        self.reads = 0
        self.slow = 0
        """Turns of the event loop that the next document takes."""

    def put(self, arn: str, *given: Mapping[str, Any]) -> None:
        self.documents[arn] = msgspec.json.encode(statements(*map(dict, given))).decode()
        self.version += 1

    async def arns(self) -> frozenset[str]:
        self.reads += 1
        return frozenset(self.documents)

    async def find(self, resource_arn: str) -> str | None:
        self.reads += 1
        found, waits = self.documents.get(resource_arn), self.slow
        self.slow = 0
        for _ in range(waits):
            await asyncio.sleep(0)
        return found


def lets_in(principal: Any, **rest: Any) -> dict[str, Any]:
    named = {"Principal": principal, "Action": "bedrock:*", "Resource": "*"}
    return {"Effect": "Allow", **named, **rest}


def policies_of(documents: Documents) -> ResourcePolicies:
    return ResourcePolicies(documents, lambda: documents.version)


def shares(principal: Principal, *given: Mapping[str, Any], arn: str = ARN) -> bool:
    documents = Documents()
    documents.put(arn, *given)
    return asyncio.run(policies_of(documents).shares(principal, arn))


def test_a_resource_is_shared_with_whom_its_policy_names() -> None:
    assert shares(user(), lets_in({"AWS": USER}))
    assert shares(session(), lets_in({"AWS": ROLE}))
    assert shares(session(), lets_in({"AWS": SESSION}))
    assert shares(root(), lets_in({"AWS": ACCOUNT}))
    assert shares(user(), lets_in("*"))


def test_it_is_not_shared_with_anybody_else() -> None:
    assert not shares(user(), lets_in({"AWS": ROLE}))
    assert not shares(user(), lets_in({"AWS": OWNER}))
    assert not shares(user(), {**lets_in({"AWS": USER}), "Effect": "Deny"})
    assert not shares(user(), lets_in("*"), arn=OWN)


def test_a_condition_that_a_principal_never_meets_shares_nothing() -> None:
    def of_team(team: str) -> dict[str, Any]:
        return lets_in("*", Condition={"StringEquals": {"aws:PrincipalTag/team": team}})

    assert shares(user(team="red"), of_team("red"))
    assert not shares(user(team="blue"), of_team("red"))


def test_a_condition_that_it_may_meet_once_does() -> None:
    at_home = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}

    assert shares(user(), lets_in({"AWS": USER}, Condition=at_home))


def test_only_the_path_of_a_request_reaches_into_another_account() -> None:
    documents = Documents()
    documents.put(ARN, lets_in({"AWS": USER}))
    policies = policies_of(documents)
    identified = Identified(authorizer=Authorizer(user(), PolicySet()))

    async def main() -> tuple[Identified, Identified]:
        return (
            await policies.reaching(identified, {"modelId": ARN}),
            await policies.reaching(identified, {"modelId": OWN}),
        )

    reached, own = asyncio.run(main())

    assert reached.caller.shared_arn == ARN
    assert reached.caller.owner_of(ARN) == OWNER
    assert reached.caller.owner_of(OWN) == reached.caller.owner_of("id") == ACCOUNT
    assert own is identified


def test_the_policy_of_a_stranger_is_nobodys_to_be_judged_by() -> None:
    documents = Documents()
    documents.put(ARN, lets_in("*"))
    caller = user().caller

    async def main() -> tuple[object, object]:
        policies = policies_of(documents)
        shared = msgspec.structs.replace(caller, shared_arn=ARN)
        return await policies.at(caller, ARN), await policies.at(shared, ARN)

    stranger, named = asyncio.run(main())
    assert stranger is None
    assert named is not None


def test_nothing_is_read_while_nothing_changes() -> None:
    documents = Documents()
    documents.put(OWN, lets_in("*"))

    async def main() -> None:
        policies = policies_of(documents)
        for _ in range(100):
            assert await policies.at(user().caller, OWN)
            assert policies.exist
            assert not await policies.shares(user(), ARN)

    asyncio.run(main())

    assert documents.reads == 2


def test_a_change_is_followed() -> None:
    documents = Documents()

    async def main() -> list[bool]:
        policies = policies_of(documents)
        seen = [await policies.shares(user(), ARN)]
        documents.put(ARN, lets_in({"AWS": USER}))
        seen.append(await policies.shares(user(), ARN))
        documents.put(ARN, lets_in({"AWS": ROLE}))
        seen.append(await policies.shares(user(), ARN))
        return seen

    assert asyncio.run(main()) == [False, True, False]


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    documents = Documents()
    documents.put(OWN, lets_in("*", Sid="Before"))
    documents.slow = 9

    async def main() -> list[str]:
        policies = policies_of(documents)
        caller = user().caller

        async def label() -> str:
            found = await policies.at(caller, OWN)
            assert found
            return found.policy.statements[0].label

        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(label())
            await asyncio.sleep(0)
            documents.put(OWN, lets_in("*", Sid="After"))
            fast = tasks.create_task(label())
        return [slow.result(), fast.result(), await label()]

    assert asyncio.run(main()) == ["Before", "After", "After"]


def test_no_more_policies_are_kept_than_the_most() -> None:
    documents = Documents()
    arns = [f"{OWN[:-6]}{number:06}" for number in range(MOST_KNOWN + 1)]
    for arn in arns:
        documents.put(arn, lets_in("*"))

    async def main() -> None:
        policies = policies_of(documents)
        for arn in [*arns, arns[0]]:
            assert await policies.at(user().caller, arn)

    asyncio.run(main())

    assert documents.reads == 1 + len(arns) + 1
