"""Kinds of policy together, by the examples of "Policy evaluation logic" in the IAM User Guide."""

from typing import Any

import pytest

from outcrop.iam.policy.denial import access_denied, statement_of
from outcrop.iam.policy.document import PolicyKind
from outcrop.iam.policy.evaluation import MOST_PRINCIPALS, Authorizer, Authorizers, Decision
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import Access, AttachedPolicy, PolicySet
from tests.iam.policy.world import (
    ACCOUNT,
    NOW,
    ROLE,
    ROOT,
    SESSION,
    USER,
    attached,
    caller,
    root,
    session,
    statements,
    user,
)

MODEL = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
INVOKE = "bedrock:InvokeModel"
OTHER = "999999999999"

Raw = dict[str, Any]

ALLOW_ALL = statements({"Effect": "Allow", "Action": "*", "Resource": "*"})
ALLOW_LISTS = statements({"Effect": "Allow", "Action": "bedrock:List*", "Resource": "*"})
DENY_INVOKE = statements(
    {"Sid": "NoModels", "Effect": "Deny", "Action": "bedrock:Invoke*", "Resource": "*"}
)


def kind_of(document: Raw, kind: PolicyKind, name: str = "Example") -> AttachedPolicy:
    return attached(document, kind, name=name)


def identity(*documents: Raw) -> list[AttachedPolicy]:
    return [attached(document) for document in documents]


def scp(document: Raw) -> AttachedPolicy:
    return kind_of(document, "service control policy")


def at_resource(principal: Any, effect: str = "Allow", key: str = "Principal") -> AttachedPolicy:
    statement = {"Effect": effect, key: principal, "Action": "bedrock:*", "Resource": "*"}
    return kind_of(statements(statement), "resource-based policy")


def decide(
    principal: Principal,
    policies: PolicySet,
    *,
    resource_policy: AttachedPolicy | None = None,
    owner: str | None = None,
) -> Decision:
    access = Access(
        action=INVOKE,
        resource=MODEL,
        context={},
        resource_policy=resource_policy,
        resource_account_id=owner,
    )
    return Authorizer(principal, policies).decide(access)


def verdict(decision: Decision) -> tuple[bool, str | None, bool]:
    """Allowed, by which kind, and whether a statement says so."""
    return decision.allowed, decision.kind, decision.statement is not None


IDENTITY: PolicyKind = "identity-based policy"
BOUNDARY: PolicyKind = "permissions boundary"
SESSION_POLICY: PolicyKind = "session policy"
SCP: PolicyKind = "service control policy"
RESOURCE: PolicyKind = "resource-based policy"


def test_nothing_is_allowed_by_default() -> None:
    assert verdict(decide(user(), PolicySet())) == (False, IDENTITY, False)


def test_one_statement_that_allows_is_enough() -> None:
    policies = PolicySet(identity=identity(ALLOW_LISTS, ALLOW_ALL))

    assert verdict(decide(user(), policies)) == (True, IDENTITY, True)


def test_an_explicit_denial_wins_wherever_it_stands() -> None:
    everything = PolicySet(identity=identity(ALLOW_ALL))
    denying = {
        IDENTITY: PolicySet(identity=identity(ALLOW_ALL, DENY_INVOKE)),
        BOUNDARY: PolicySet(identity=everything.identity, boundary=kind_of(DENY_INVOKE, BOUNDARY)),
        SESSION_POLICY: PolicySet(
            identity=everything.identity, session=[kind_of(DENY_INVOKE, SESSION_POLICY)]
        ),
        SCP: PolicySet(
            identity=everything.identity, service_control=[[scp(ALLOW_ALL), scp(DENY_INVOKE)]]
        ),
    }

    for kind, policies in denying.items():
        found = decide(session(), policies, resource_policy=at_resource("*"))
        assert (verdict(found), found.statement) == ((False, kind, True), "NoModels")
    at_last = decide(user(), everything, resource_policy=at_resource("*", "Deny"))
    assert verdict(at_last) == (False, RESOURCE, True)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_service_control_policies_allow_at_every_level_or_not_at_all(level: int) -> None:
    levels = [[scp(ALLOW_ALL)], [scp(ALLOW_LISTS), scp(ALLOW_ALL)], [scp(ALLOW_ALL)]]
    everything = identity(ALLOW_ALL)

    assert decide(user(), PolicySet(identity=everything, service_control=levels)).allowed
    levels[level] = [scp(ALLOW_LISTS)]
    found = decide(user(), PolicySet(identity=everything, service_control=levels))
    assert verdict(found) == (False, SCP, False)
    levels[level] = []
    assert not decide(user(), PolicySet(identity=everything, service_control=levels)).allowed


def test_a_service_control_policy_grants_nothing() -> None:
    found = decide(user(), PolicySet(service_control=[[scp(ALLOW_ALL)]]))

    assert verdict(found) == (False, IDENTITY, False)


def test_the_root_user_is_denied_by_service_control_policies_only() -> None:
    assert verdict(decide(root(), PolicySet())) == (True, None, False)
    assert not decide(root(), PolicySet(service_control=[[scp(ALLOW_LISTS)]])).allowed
    assert not decide(root(), PolicySet(service_control=[[scp(DENY_INVOKE)]])).allowed


def test_a_boundary_limits_and_grants_nothing() -> None:
    lists, everything = kind_of(ALLOW_LISTS, BOUNDARY), kind_of(ALLOW_ALL, BOUNDARY)
    allowed = identity(ALLOW_ALL)

    assert decide(user(), PolicySet(identity=allowed, boundary=everything)).allowed
    assert verdict(decide(user(), PolicySet(identity=allowed, boundary=lists))) == (
        False,
        BOUNDARY,
        False,
    )
    assert verdict(decide(user(), PolicySet(boundary=everything))) == (False, IDENTITY, False)


def test_session_policies_limit_a_session() -> None:
    allowed = identity(ALLOW_ALL)
    both = [kind_of(ALLOW_LISTS, SESSION_POLICY), kind_of(ALLOW_ALL, SESSION_POLICY)]

    assert decide(session(), PolicySet(identity=allowed, session=both)).allowed
    found = decide(session(), PolicySet(identity=allowed, session=both[:1]))
    assert verdict(found) == (False, SESSION_POLICY, False)
    assert not decide(session(), PolicySet(identity=allowed, session=[])).allowed


LIMITED = PolicySet(
    boundary=kind_of(ALLOW_LISTS, BOUNDARY), session=[kind_of(ALLOW_LISTS, SESSION_POLICY)]
)


@pytest.mark.parametrize(
    ("principal", "named"),
    [
        (user(), {"AWS": USER}),
        (user(), "*"),
        (user(), {"AWS": [ROLE, "*"]}),
        (session(), {"AWS": SESSION}),
        (session(), "*"),
    ],
)
def test_a_resource_that_names_who_asks_overrides_implicit_denials(
    principal: Principal, named: Any
) -> None:
    found = decide(principal, LIMITED, resource_policy=at_resource(named))

    assert verdict(found) == (True, RESOURCE, True)


def test_a_resource_that_names_the_role_grants_within_boundary_and_session() -> None:
    named = at_resource({"AWS": ROLE})
    boundary = PolicySet(boundary=LIMITED.boundary)
    of_session = PolicySet(session=LIMITED.session)

    assert verdict(decide(session(), PolicySet(), resource_policy=named)) == (True, RESOURCE, True)
    assert decide(session(), boundary, resource_policy=named).kind == BOUNDARY
    assert decide(session(), of_session, resource_policy=named).kind == SESSION_POLICY


@pytest.mark.parametrize("named", [ROOT, ACCOUNT])
def test_a_resource_that_names_the_account_leaves_it_to_the_account(named: str) -> None:
    policy = at_resource({"AWS": named})

    assert verdict(decide(user(), PolicySet(), resource_policy=policy)) == (False, IDENTITY, False)
    assert decide(user(), PolicySet(identity=identity(ALLOW_ALL)), resource_policy=policy).allowed


def test_strangers_and_services_are_not_who_asks() -> None:
    for named in ({"AWS": OTHER}, {"AWS": USER + "x"}, {"Service": "bedrock.amazonaws.com"}):
        assert not decide(user(), PolicySet(), resource_policy=at_resource(named)).allowed


def test_across_accounts_both_have_to_allow() -> None:
    everything = PolicySet(identity=identity(ALLOW_ALL))
    named = at_resource({"AWS": USER})

    assert decide(user(), everything, resource_policy=named, owner=OTHER).allowed
    assert verdict(decide(user(), everything, owner=OTHER)) == (False, RESOURCE, False)
    assert decide(user(), PolicySet(), resource_policy=named, owner=OTHER).kind == IDENTITY
    assert decide(root(), PolicySet(), resource_policy=at_resource("*"), owner=OTHER).allowed
    assert not decide(root(), PolicySet(), owner=OTHER).allowed


@pytest.mark.parametrize(
    ("principal", "spared", "denied"),
    [
        # "We strongly recommend that you explicitly include the ARN for a user's account."
        (user(), [USER, ROOT], False),
        (user(), [USER, ACCOUNT], False),
        (user(), [USER], True),
        (session(), [SESSION, ROLE, ROOT], False),
        (session(), [SESSION, ROOT], True),
        (session(), [ROLE, ROOT], True),
        (root(), [ROOT], False),
        (user(), ["*"], False),
    ],
)
def test_not_principal_denies_all_others(
    principal: Principal, spared: list[str], *, denied: bool
) -> None:
    policy = at_resource({"AWS": spared}, "Deny", "NotPrincipal")
    found = decide(principal, PolicySet(identity=identity(ALLOW_ALL)), resource_policy=policy)

    assert found.allowed is not denied


def test_a_role_is_assumed_by_those_its_trust_policy_names() -> None:
    assume = {"Effect": "Allow", "Action": "sts:AssumeRole"}
    everything = PolicySet(identity=identity(ALLOW_ALL))

    def assuming(principal: Principal, policies: PolicySet, named: str) -> Decision:
        trust = statements({**assume, "Principal": {"AWS": named}})
        return Authorizer(principal, policies).decide(
            Access(
                action="sts:AssumeRole",
                resource=ROLE,
                context={},
                resource_policy=kind_of(trust, "role trust policy"),
                resource_account_id=ACCOUNT,
            )
        )

    assert assuming(user(), PolicySet(), USER).allowed
    assert assuming(user(), everything, ROOT).allowed
    assert verdict(assuming(user(), PolicySet(), ROOT)) == (False, IDENTITY, False)
    stranger = assuming(user(), everything, OTHER)
    assert access_denied(user(), stranger).message.endswith(
        "because no role trust policy allows the sts:AssumeRole action"
    )
    assert not assuming(root(), PolicySet(), OTHER).allowed


def test_a_federated_user_can_do_what_session_policies_allow() -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
    bob = Principal(caller=caller(arn), issuer_arn=USER, token_issued_at=NOW)
    everything = identity(ALLOW_ALL)
    allowing = [kind_of(ALLOW_ALL, SESSION_POLICY)]

    assert verdict(decide(bob, PolicySet(identity=everything))) == (False, SESSION_POLICY, False)
    assert decide(bob, PolicySet(identity=everything, session=allowing)).allowed


def test_the_guides_example_of_carlos() -> None:
    policies = PolicySet(
        identity=identity(
            statements(
                {
                    "Sid": "AllowS3Self",
                    "Effect": "Allow",
                    "Action": "s3:*",
                    "Resource": ["arn:aws:s3:::carlossalazar/*", "arn:aws:s3:::carlossalazar"],
                },
                {
                    "Sid": "DenyS3Logs",
                    "Effect": "Deny",
                    "Action": "s3:*",
                    "Resource": "arn:aws:s3:::*log*",
                },
            )
        )
    )
    authorizer = Authorizer(user(), policies)

    def put(bucket: str) -> Decision:
        return authorizer.decide(
            Access(action="s3:PutObject", resource=f"arn:aws:s3:::{bucket}/x", context={})
        )

    assert put("carlossalazar").statement == "AllowS3Self"
    assert verdict(put("carlossalazar-logs")) == (False, IDENTITY, True)
    assert verdict(put("elsewhere")) == (False, IDENTITY, False)


NAMED = f"arn:aws:iam::{ACCOUNT}:policy/Example"
DENIED = f"is not authorized to perform: {INVOKE} on resource: {MODEL}"


@pytest.mark.parametrize(
    ("policies", "resource_policy", "because", "logged"),
    [
        (
            PolicySet(),
            None,
            f"because no identity-based policy allows the {INVOKE} action",
            "no identity-based policy allows it",
        ),
        (
            PolicySet(identity=identity(DENY_INVOKE)),
            None,
            f"with an explicit deny in an identity-based policy: {NAMED}",
            f"identity-based policy {NAMED}, statement NoModels",
        ),
        (
            PolicySet(
                identity=[AttachedPolicy(name="inline", policy=attached(DENY_INVOKE).policy)]
            ),
            None,
            "with an explicit deny in an identity-based policy",
            "identity-based policy inline, statement NoModels",
        ),
        (
            PolicySet(service_control=[[]]),
            None,
            f"because no service control policy allows the {INVOKE} action",
            "no service control policy allows it",
        ),
        (
            PolicySet(service_control=[[scp(DENY_INVOKE)]]),
            None,
            f"with an explicit deny in a service control policy: {NAMED}",
            f"service control policy {NAMED}, statement NoModels",
        ),
        (
            PolicySet(identity=identity(ALLOW_ALL), boundary=LIMITED.boundary),
            None,
            f"because no permissions boundary allows the {INVOKE} action",
            "no permissions boundary allows it",
        ),
        (
            PolicySet(boundary=kind_of(DENY_INVOKE, BOUNDARY)),
            None,
            f"with an explicit deny in a permissions boundary: {NAMED}",
            f"permissions boundary {NAMED}, statement NoModels",
        ),
        (
            PolicySet(identity=identity(ALLOW_ALL), session=LIMITED.session),
            None,
            f"because no session policy allows the {INVOKE} action",
            "no session policy allows it",
        ),
        (
            PolicySet(session=[kind_of(DENY_INVOKE, SESSION_POLICY)]),
            None,
            f"with an explicit deny in a session policy: {NAMED}",
            f"session policy {NAMED}, statement NoModels",
        ),
        (
            PolicySet(),
            at_resource("*", "Deny"),
            f"with an explicit deny in a resource-based policy: {NAMED}",
            f"resource-based policy {NAMED}, statement Statement[0]",
        ),
    ],
)
def test_a_denial_is_in_amazons_words_and_the_log_names_the_statement(
    policies: PolicySet, resource_policy: AttachedPolicy | None, because: str, logged: str
) -> None:
    decision = decide(session(), policies, resource_policy=resource_policy)
    denial = access_denied(session(), decision)

    assert denial.message == f"User: {SESSION} {DENIED} {because}"
    assert (denial.status, denial.message_key) == (403, "Message")
    assert statement_of(decision) == logged


def test_the_log_says_why_something_was_allowed() -> None:
    allowed = decide(user(), PolicySet(identity=identity(ALLOW_ALL)))

    assert statement_of(allowed) == f"identity-based policy {NAMED}, statement Statement[0]"
    assert statement_of(decide(root(), PolicySet())) == (
        "an account's root user is allowed everything"
    )


@pytest.mark.parametrize(
    ("action", "on"),
    [
        ("bedrock:ListFoundationModels", ""),
        ("bedrock:CallWithBearerToken", " on resource: *"),
    ],
)
def test_a_denial_without_a_resource(action: str, on: str) -> None:
    decision = Authorizer(user(), PolicySet()).decide(
        Access(action=action, resource="*", context={})
    )

    assert access_denied(user(), decision).message == (
        f"User: {USER} is not authorized to perform: {action}{on}"
        f" because no identity-based policy allows the {action} action"
    )


def test_an_authorizer_is_kept_until_the_policies_change() -> None:
    known = Authorizers()

    first = known.of("alice", 1, lambda: Authorizer(user(), PolicySet()))
    again = known.of("alice", 1, lambda: Authorizer(user(), PolicySet()))
    changed = known.of("alice", 2, lambda: Authorizer(user(), LIMITED))

    assert first is again
    assert changed is not first


def test_a_stranger_more_pushes_the_oldest_out() -> None:
    known = Authorizers()
    first = known.of("alice", 1, lambda: Authorizer(user(), PolicySet()))

    for number in range(MOST_PRINCIPALS):
        known.of(f"{number}", 1, lambda: first)

    assert known.of("alice", 1, lambda: Authorizer(user(), PolicySet())) is not first


def test_an_authorizer_remembers_a_bounded_number_of_resources() -> None:
    authorizer = Authorizer(user(), PolicySet(identity=identity(ALLOW_ALL)))

    for number in range(1_000):
        access = Access(action=INVOKE, resource=f"{MODEL}-{number}", context={})
        assert authorizer.decide(access).allowed

    assert len(authorizer._relevant) <= 64
