"""What authorization costs: a call through a profile of three Regions, of 1,000 policies a few."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from outcrop.iam.access import AuthorizationRequest, Resource, authorized, invoked
from outcrop.iam.caller import Caller
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.document import PolicyKind, parse
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import AttachedPolicy, PolicySet

POLICIES, ROUNDS, CALLS = 1_000, 7, 1_000
ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/App"
PROFILE = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.vendor3.model-v1:0"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def main() -> None:
    began = time.process_time()
    policies = [attached(f"P{i}", *statements(i)) for i in range(POLICIES)]
    parsing = (time.process_time() - began) / POLICIES * 1e6
    print(f"{'one policy of two statements, parsed':58}{parsing:>8.1f} µs")
    reference = best_us(lambda: json.loads(REFERENCE))
    print(
        f"{'authorized, policies attached':44}{'conditions left':>14}{'µs':>8}{'of json.loads':>16}"
    )
    for count in (1, 10, 30):
        for left in (0, 1, 5):
            cost = best_us(asking(policies[:count], left=left))
            print(f"{count:>44}{left:>14}{cost:>8.1f}{cost / reference:>16.2f}")
    for count in (1, 10, 50):
        cost = best_us(asking(policies[:1], left=0, at_profile=opening(count)))
        those = f"1, and {count} statements at the profile"
        print(f"{those:>44}{0:>14}{cost:>8.1f}{cost / reference:>16.2f}")


def opening(count: int) -> AttachedPolicy:
    """A policy at a resource: each statement for another role, the last for the one that calls."""
    roles = [f"arn:aws:iam::{ACCOUNT}:role/App{number}" for number in range(count - 1)]
    given = [{**EVERYTHING, "Principal": {"AWS": role}} for role in [*roles, ROLE]]
    return attached("At", *given, kind="resource-based policy")


def asking(
    policies: list[AttachedPolicy], *, left: int, at_profile: AttachedPolicy | None = None
) -> Callable[[], object]:
    """`left` denying statements hang on what changes with every request: address and time."""
    principal = Principal(caller=CALLER, issuer_arn=ROLE, tags={"team": "t"}, token_issued_at=NOW)
    scps = [[attached("Full", EVERYTHING, kind="service control policy")]] * 3
    denying = [attached(f"D{i}", outside_of(f"10.{i}.0.0/16")) for i in range(left)]
    allowing = [attached("All", EVERYTHING)]
    authorizer = Authorizer(
        principal,
        PolicySet(identity=[*policies, *denying, *allowing], service_control=scps),
    )
    profile = Resource(arn=PROFILE, policy=at_profile)

    def ask() -> object:
        regions = ("us-east-1", "us-east-2", "us-west-2")
        request = AuthorizationRequest(
            operation="Converse",
            environment=Environment(now=NOW, source_ip="203.0.113.7", is_secure=True),
            resources=invoked(CALLER, "vendor3.model-v1:0", regions=regions, profile=profile),
            service_tier="default",
        )
        decision = authorized(request, authorizer)
        assert decision.allowed
        return decision

    return ask


def statements(number: int) -> list[dict[str, Any]]:
    return [
        {
            "Effect": "Allow",
            "Action": ["bedrock:InvokeModel*", "bedrock:Get*"],
            "Resource": [
                f"arn:aws:bedrock:*::foundation-model/vendor{number}.*",
                f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.vendor{number}.*",
            ],
            "Condition": {"StringEquals": {"aws:PrincipalTag/team": "t"}},
        },
        {
            "Effect": "Deny",
            "Action": "bedrock:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": f"eu-west-{number}"}},
        },
    ]


def outside_of(network: str) -> dict[str, Any]:
    return {
        "Effect": "Deny",
        "Action": "bedrock:*",
        "Resource": "*",
        "Condition": {
            "IpAddress": {"aws:SourceIp": network},
            "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
        },
    }


def attached(
    name: str, *given: dict[str, Any], kind: PolicyKind = "identity-based policy"
) -> AttachedPolicy:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(given)})
    return AttachedPolicy(name=name, policy=parse(text, kind))


def best_us(call: Callable[[], object]) -> float:
    """Of processor time."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - began)
    return best / CALLS * 1e6


CALLER = Caller(
    account_id=ACCOUNT,
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/App/worker",
    user_id="AROAEXAMPLE:worker",
    region="us-east-1",
    partition="aws",
)
REFERENCE = json.dumps({"Version": "2012-10-17", "Statement": [*statements(1), *statements(2)]})


if __name__ == "__main__":
    main()
