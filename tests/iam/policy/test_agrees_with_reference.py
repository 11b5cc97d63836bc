"""Policies and requests at random: the product and the reference, written apart, agree."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.iam.policy.context import is_constant, principal_context
from outcrop.iam.policy.document import PolicyKind
from outcrop.iam.policy.evaluation import Authorizer, Decision
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import Access, AttachedPolicy, PolicySet, names
from tests.iam.policy import reference
from tests.iam.policy.world import ACCOUNT, ROLE, ROOT, SESSION, USER, attached, root, session, user

Raw = dict[str, Any]

OTHER = "999999999999"
ARNS = [
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "arn:aws:bedrock:::foundation-model/amazon.nova-lite-v1:0",
    f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.amazon.nova-lite-v1:0",
    f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:provisioned-model/a*b",
    f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/red",
]
RESOURCES = [
    "*",
    *ARNS[:3],
    "arn:aws:bedrock:*::foundation-model/*",
    "arn:aws:bedrock:*:*:*",
    "arn:aws:bedrock:us-????-1:*:*-profile/us.*:?",
    "arn:aws:bedrock:*:*:*nova*",
    "arn:aws:bedrock",
    "arn:aws:bedrock:us-east-1:*:*/${aws:PrincipalTag/team}",
    "arn:aws:bedrock:us-east-1:*:*/${aws:PrincipalTag/team, 'red'}",
    "arn:aws:bedrock:eu-west-1:*:provisioned-model/a${*}b",
    "arn:aws:bedrock:*:*:*/${aws:RequestTag/team}",
]
ACTIONS = ["bedrock:InvokeModel", "bedrock:ListInferenceProfiles"]
ACTION_PATTERNS = ["*", "bedrock:*", "BEDROCK:invoke*", "bedrock:ListInferenceProfile?", "s3:Get*"]
TEAMS = ["red", "RED", "blue", "", "r*d"]
TEXTS = [*TEAMS, "*", "r?d", "${aws:PrincipalTag/team}", "${aws:username,'red'}", "${$}", "${*}"]

KEYS: dict[str, list[str]] = {
    "aws:PrincipalTag/team": TEAMS,
    "aws:RequestTag/team": TEAMS,
    "aws:TagKeys": TEAMS,
    "aws:PrincipalArn": [USER, ROLE],
    "aws:RequestedRegion": ["us-east-1", "unspecified"],
    "bedrock:InferenceProfileArn": [*ARNS[2:3], "arn:aws:bedrock:*:*:inference-profile/*", "*"],
    "aws:MultiFactorAuthAge": ["10", "-3.5", "1e3"],
    "aws:CurrentTime": [
        "2026-11-22T12:00:00Z",
        "2026-11",
        "1700000000",
        "2020-01-01T00:00:00+01:00",
    ],
    "aws:SourceIp": ["10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "2001:db8::1"],
    "aws:SecureTransport": ["true", "False", "${aws:RequestTag/flag, 'true'}"],
    "example:Bytes": ["QUJD", "QQ=="],
}
TYPED = {
    "aws:MultiFactorAuthAge": ["Numeric"],
    "aws:CurrentTime": ["Date"],
    "aws:SourceIp": ["Ip"],
    "aws:SecureTransport": ["Bool"],
    "example:Bytes": ["Binary"],
    "bedrock:InferenceProfileArn": ["Arn", "String"],
    "aws:PrincipalArn": ["Arn", "String"],
}
ORDERED = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
STRING = ("Equals", "NotEquals", "Like", "NotLike", "EqualsIgnoreCase", "NotEqualsIgnoreCase")
OPERATORS = {
    "String": [f"String{end}" for end in STRING],
    "Arn": ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
    "Ip": ["IpAddress", "NotIpAddress"],
    "Bool": ["Bool"],
    "Binary": ["BinaryEquals"],
    "Numeric": [f"Numeric{end}" for end in ORDERED],
    "Date": [f"Date{end}" for end in ORDERED],
}


@st.composite
def conditions(draw: st.DrawFn, *, with_variables: bool) -> Raw:
    block: Raw = {}
    for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=3, unique=True)):
        name = draw(st.sampled_from([key, key.lower(), key.upper()]))
        if draw(st.integers(0, 5)) == 0:
            block.setdefault("Null", {})[name] = draw(st.sampled_from(["true", False, ["true"]]))
            continue
        kind = draw(st.sampled_from(TYPED.get(key, ["String"])))
        operator = draw(st.sampled_from(OPERATORS[kind])) + draw(st.sampled_from(["", "IfExists"]))
        quantifier = draw(st.sampled_from(["", "", "ForAllValues:", "ForAnyValue:"]))
        values = KEYS[key] + (TEXTS if kind == "String" else [])
        if not with_variables and kind == "Bool":
            values = values[:2]
        chosen = draw(st.lists(st.sampled_from(values), max_size=3))
        one = len(chosen) == 1 and draw(st.booleans())
        block.setdefault(quantifier + operator, {})[name] = chosen[0] if one else chosen
    return block


PRINCIPALS = st.one_of(
    st.just("*"),
    st.lists(
        st.sampled_from(["*", USER, SESSION, ROLE, ROOT, ACCOUNT, OTHER]), min_size=1, max_size=3
    ).map(lambda named: {"AWS": named}),
    st.just({"Service": "bedrock.amazonaws.com"}),
)


@st.composite
def policies(draw: st.DrawFn, kind: PolicyKind) -> Raw:
    version = "2012-10-17"
    if kind == "resource-based policy":
        version = draw(st.sampled_from(["2008-10-17", "2012-10-17"]))

    def statement() -> Raw:
        effect = draw(st.sampled_from(["Allow", "Allow", "Deny"]))
        found: Raw = {
            "Effect": effect,
            draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(
                st.lists(st.sampled_from(ACTION_PATTERNS + ACTIONS), min_size=1, max_size=2)
            ),
            draw(st.sampled_from(["Resource", "Resource", "NotResource"])): draw(
                st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=2)
            ),
            "Condition": draw(conditions(with_variables=version == "2012-10-17")),
        }
        if kind == "resource-based policy":
            names = ["Principal", "NotPrincipal"] if effect == "Deny" else ["Principal"]
            found[draw(st.sampled_from(names))] = draw(PRINCIPALS)
        return found

    given = [statement() for _ in range(draw(st.integers(1, 3)))]
    return {"Version": version, "Statement": given if len(given) > 1 else given[0]}


def several(kind: PolicyKind, most: int = 2) -> st.SearchStrategy[list[Raw]]:
    return st.lists(policies(kind), max_size=most)


@st.composite
def situations(draw: st.DrawFn) -> Raw:
    team = draw(st.sampled_from([*TEAMS, None]))
    tags = {} if team is None else {"Team": team}
    principal = draw(st.sampled_from([user(**tags), session(**tags), root()]))
    resource = draw(st.sampled_from([*ARNS, "*"]))
    context: dict[str, str | tuple[str, ...]] = {}
    for key, values in KEYS.items():
        if key.startswith("aws:Principal") or draw(st.booleans()):
            continue
        plain = [
            value for value in values if "/" not in value or key == "bedrock:InferenceProfileArn"
        ]
        context[key.lower()] = (
            tuple(draw(st.lists(st.sampled_from(plain), max_size=3)))
            if key == "aws:TagKeys"
            else draw(st.sampled_from(plain))
        )
    return {
        "principal": principal,
        "action": draw(st.sampled_from(ACTIONS)),
        "resource": resource,
        "context": context,
        "owner": draw(st.sampled_from([None, ACCOUNT, OTHER])),
    }


@st.composite
def sets(draw: st.DrawFn) -> Raw:
    return {
        "identity": draw(several("identity-based policy", 3)),
        "boundary": draw(st.none() | policies("permissions boundary").map(lambda one: [one])),
        "session": draw(st.none() | several("session policy")),
        "scps": draw(st.just([]) | st.lists(several("service control policy"), max_size=2)),
        "resource": draw(st.just([]) | policies("resource-based policy").map(lambda one: [one])),
    }


@pytest.mark.slow
@settings(max_examples=300)
@given(sets(), st.lists(situations(), min_size=1, max_size=4))
def test_product_and_reference_decide_alike(raw: Raw, asked: list[Raw]) -> None:
    policies = _policy_set(raw)
    for one in asked:
        decision = Authorizer(one["principal"], policies).decide(_access(one, raw))

        assert _verdict(decision) == reference.verdict(_request(one), raw), (one, raw)


@pytest.mark.slow
@settings(max_examples=300)
@given(policies("resource-based policy"), situations())
def test_whom_a_policy_lets_in_it_names(document: Raw, one: Raw) -> None:
    principal: Principal = one["principal"]
    constant = {key: value for key, value in one["context"].items() if is_constant(key)}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    allowed = {"Version": "2012-10-17", "Statement": everything}
    raw = {"identity": [allowed], "boundary": None, "session": None, "scps": []}

    named = names(
        attached(document, "resource-based policy"),
        principal,
        {**principal_context(principal), **constant},
    )
    effect, _ = reference.verdict(
        {**_request(one), "crosses": True}, {**raw, "resource": [document]}
    )

    assert named or effect != "allow"


@pytest.mark.slow
@settings(max_examples=50)
@given(sets(), sets(), st.lists(situations(), min_size=2, max_size=6))
def test_what_an_authorizer_remembers_changes_nothing(
    raw: Raw, later: Raw, asked: list[Raw]
) -> None:
    one_principal = [{**one, "principal": asked[0]["principal"]} for one in asked]
    authorizer = Authorizer(asked[0]["principal"], _policy_set(raw))

    for one, at_resource in itertools.product([*one_principal, *one_principal], [raw, later]):
        fresh = Authorizer(one["principal"], _policy_set(raw))
        access = _access(one, at_resource)
        assert _verdict(authorizer.decide(access)) == _verdict(fresh.decide(access))


def _policy_set(raw: Raw) -> PolicySet:
    def of(kind: PolicyKind, documents: list[Raw]) -> list[AttachedPolicy]:
        return [attached(document, kind) for document in documents]

    return PolicySet(
        identity=of("identity-based policy", raw["identity"]),
        boundary=next(iter(of("permissions boundary", raw["boundary"] or [])), None),
        session=None if raw["session"] is None else of("session policy", raw["session"]),
        service_control=[of("service control policy", level) for level in raw["scps"]],
    )


def _access(one: Raw, raw: Raw) -> Access:
    at_resource = [attached(document, "resource-based policy") for document in raw["resource"]]
    context = one["context"]
    return Access(
        action=one["action"],
        resource=one["resource"],
        constant=tuple((key, value) for key, value in context.items() if is_constant(key)),
        context={key: value for key, value in context.items() if not is_constant(key)},
        resource_policy=next(iter(at_resource), None),
        resource_account_id=one["owner"],
    )


def _request(one: Raw) -> Raw:
    principal: Principal = one["principal"]
    keys = {**principal_context(principal), **one["context"]}
    return {
        "arn": principal.caller.arn,
        "role": principal.issuer_arn,
        "account": principal.caller.account_id,
        "type": principal.type,
        "action": one["action"],
        "resource": one["resource"],
        "crosses": one["owner"] == OTHER,
        "context": {k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()},
    }


def _verdict(decision: Decision) -> tuple[str, str]:
    if decision.allowed:
        return "allow", decision.kind or "root"
    return ("deny" if decision.statement else "implicit deny"), str(decision.kind)
