"""Documents that IAM takes, and those it refuses: why, and where."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from outcrop.iam.policy.document import MOST_CHARACTERS, PolicyKind, parse
from outcrop.wire.errors import MalformedPolicyDocument
from tests.iam.policy.world import USER, text

KINDS: list[PolicyKind] = list(MOST_CHARACTERS)
SYNTAX = "Syntax errors in policy."
LEGACY = "The policy failed legacy parsing"
VERSION = "Policy document must be version 2012-10-17 or greater."
VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
S3 = "arn:aws:s3:::example_bucket"

Raw = dict[str, Any]


def allowing(**changes: Any) -> Raw:
    """A good statement, changed; None leaves an element out."""
    whole = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": S3, **changes}
    return {key: value for key, value in whole.items() if value is not None}


def policy(statement: Any, **changes: Any) -> Raw:
    return {"Version": "2012-10-17", "Statement": statement, **changes}


def under(**condition: Any) -> Raw:
    return policy(allowing(Condition=condition))


def resource(arn: Any) -> Raw:
    return policy(allowing(Resource=arn))


# What IAM was seen to answer (moto, test_iam_policies.py).
REFUSED: list[tuple[Any, str]] = [
    ("not an object", SYNTAX),
    ({"Statement": allowing()}, VERSION),
    (policy(allowing(), Version="2008-10-17"), VERSION),
    (policy(allowing(), Version="2013-10-17"), SYNTAX),
    ({"Version": "2012-10-17"}, SYNTAX),
    (policy(["afd"]), SYNTAX),
    (policy([]), SYNTAX),
    (policy(allowing(), **{"Extra field": "value"}), SYNTAX),
    (policy(allowing(**{"Extra field": "value"})), SYNTAX),
    (policy(allowing(), Id=["an-id"]), SYNTAX),
    (policy(allowing(), Id={}), SYNTAX),
    (policy(allowing(Effect="invalid")), SYNTAX),
    (policy(allowing(Effect=None)), SYNTAX),
    (policy(allowing(Sid={})), SYNTAX),
    (policy(allowing(Sid=[])), SYNTAX),
    (policy(allowing(Action="invalid")), VENDOR),
    (policy(allowing(Action=None, NotAction="")), VENDOR),
    (policy(allowing(Action="a a:ListBucket")), "Vendor a a is not valid"),
    (policy(allowing(Action="s3:List:Bucket")), "Actions/Condition can contain only one colon."),
    (policy(allowing(Action=None)), "Policy statement must contain actions."),
    (policy(allowing(Action=[])), "Policy statement must contain actions."),
    (policy([{"Effect": "Deny"}, allowing()]), "Policy statement must contain actions."),
    (policy(allowing(Action=[[]])), SYNTAX),
    (policy(allowing(Action={})), SYNTAX),
    (policy(allowing(Action=[], NotAction="s3:ListBucket")), SYNTAX),
    (policy(allowing(NotAction="iam:dsf")), SYNTAX),
    (policy(allowing(NotResource="*")), SYNTAX),
    (policy(allowing(NotResource=[])), SYNTAX),
    (policy(allowing(Resource=None)), "Policy statement must contain resources."),
    (policy(allowing(Resource=[])), "Policy statement must contain resources."),
    (
        policy(allowing(Action="invalid", Resource=None)),
        "Policy statement must contain resources.",
    ),
    (resource("invalid resource"), 'Resource invalid resource must be in ARN format or "*".'),
    (resource(""), 'Resource  must be in ARN format or "*".'),
    (resource(["adf"]), 'Resource adf must be in ARN format or "*".'),
    (
        policy(allowing(Action="s:3:ListBucket", Resource="sdfsadf")),
        'Resource sdfsadf must be in ARN format or "*".',
    ),
    (
        resource("a:bsdfdsafsad"),
        'Partition "bsdfdsafsad" is not valid for resource "arn:bsdfdsafsad:*:*:*:*".',
    ),
    (resource("a:b:cadfsdf"), 'Partition "b" is not valid for resource "arn:b:cadfsdf:*:*:*".'),
    (
        resource("a:b:c:d:e:f:g:h"),
        'Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h".',
    ),
    (
        resource("aws:s3:::example_bucket"),
        'Partition "s3" is not valid for resource "arn:s3:::example_bucket:*".',
    ),
    (
        resource("arn:aws"),
        "Resource vendor must be fully qualified and cannot contain regexes.",
    ),
    (resource("arn:aws:s3::example_bucket"), LEGACY),
    (policy(allowing(Action=None, Resource="arn:aws:s3::example_bucket")), LEGACY),
    (policy(allowing(Resource=None, NotResource="arn:aws:s3::example_bucket")), LEGACY),
    (resource("arn:aws::fdsasf"), LEGACY),
    (resource("arn:aws:bedrock:us-east-1:${aws:PrincipalAccount}:inference-profile/*"), LEGACY),
    (resource({"a": S3}), SYNTAX),
    (resource(["adfdf", {}]), SYNTAX),
    (policy(allowing(Condition=[])), SYNTAX),
    (policy(allowing(Condition="a")), SYNTAX),
    (under(a="b"), SYNTAX),
    (under(DateGreaterThan="b"), SYNTAX),
    (under(DateGreaterThan=[]), SYNTAX),
    (under(DateGreaterThan={"a": {}}), SYNTAX),
    (under(x={"a": "1"}), SYNTAX),
    (under(**{"ForAnyValue::StringEqualsIfExists": {"a": "asf"}}), SYNTAX),
    (under(NullIfExists={"a": "true"}), SYNTAX),
    (under(DateGreaterThan={"a": "sdfdsf"}), LEGACY),
    (under(DateLessThanEquals={"a": "234-13"}), LEGACY),
    (under(DateLessThanEquals={"a": "2016-12-13t2:00:00.593194+1"}), LEGACY),
    (under(DateLessThanEquals={"a": "2016-12-13t2:00:00.1999999999+10:59"}), LEGACY),
    (under(DateLessThan={"a": "9223372036854775808"}), LEGACY),
    (policy(allowing(Effect="denY")), LEGACY),
    (
        policy([allowing(Sid="sdf"), {"Sid": "sdf", "Effect": "Allow"}]),
        "Statement IDs (SID) in a single policy must be unique.",
    ),
    (policy([allowing(Sid="sdf", Effect="aLLow"), {"Sid": "sdf", "Effect": "Allow"}]), LEGACY),
    (
        policy(allowing(Sid="not this")),
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular",
    ),
    (policy(allowing(Principal="*")), "Policy document should not specify a principal."),
    (under(NumericEquals={"a": "ten"}), LEGACY),
    (under(Bool={"a": "yes"}), LEGACY),
    (under(IpAddress={"aws:SourceIp": "10.0.0.0/33"}), LEGACY),
    (under(BinaryEquals={"a": "?"}), LEGACY),
    (policy(allowing(Sid=None, Effect="Allow", Action=None, NotAction=None)), "Policy statement"),
    ({**policy(allowing()), "Version": None}, SYNTAX),
]

ACCEPTED: list[Raw] = [
    policy(allowing()),
    policy([allowing()]),
    policy(allowing(Sid="")),
    policy([allowing(), allowing()]),
    policy(allowing(), Id="any text"),
    policy(allowing(Action="*")),
    policy(allowing(Action="iam: asdf safdsf af ")),
    policy(allowing(Action=None, NotAction="s3.s:ListBucket")),
    policy(allowing(Resource=None, NotResource=[S3, "arn:aws:s3:::other/*"])),
    resource([S3, "*"]),
    resource("arn:aws:fdsasf"),
    resource("arn:*:bedrock:*::foundation-model/*"),
    resource("arn:aws:iam::*:user/${aws:username}"),
    resource("arn:aws:ec2:region:account-id:instance/*"),
    policy(allowing(Condition={})),
    under(DateGreaterThan={}),
    under(DateGreaterThan={"a": []}),
    under(a={}),
    under(StringEqualsIfExists={"a": "asf"}),
    under(**{"ForAnyValue:StringEqualsIfExists": {"a": "asf"}}),
    under(DateLessThanEquals={"a": "2019-07-01T13:20:15Z"}),
    under(DateLessThanEquals={"a": "2016-12-13T21:20:37.593194+00:00"}),
    under(DateLessThanEquals={"a": "2016-12-13t2:00:00.593194+23"}),
    under(DateLessThan={"a": "-292275054"}),
    under(NumericLessThan={"a": 10}, Bool={"b": True}, Null={"c": [False]}),
]


@pytest.mark.parametrize(("document", "words"), REFUSED, ids=str)
def test_what_iam_refuses_is_refused_in_its_words(document: Any, words: str) -> None:
    with pytest.raises(MalformedPolicyDocument) as refusal:
        parse(text(document), "identity-based policy")

    assert refusal.value.message.startswith(words)
    assert refusal.value.name == "MalformedPolicyDocument"


@pytest.mark.parametrize("document", ACCEPTED, ids=str)
def test_what_iam_takes_is_taken(document: Raw) -> None:
    assert parse(text(document), "identity-based policy").statements


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (policy([allowing(), allowing(Effect=1)]), "`$.Statement[1].Effect`"),
        (policy([allowing(Resource=["*", "x"])]), "`$.Statement[0].Resource[1]`"),
        (policy(allowing(Resource=None, NotResource="x")), "`$.Statement.NotResource`"),
        (under(DateEquals={"aws:CurrentTime": "x"}), "`$.Statement.Condition.DateEquals.aws:Curr"),
    ],
    ids=str,
)
def test_a_refusal_says_where(document: Raw, place: str) -> None:
    with pytest.raises(MalformedPolicyDocument) as refusal:
        parse(text(document), "identity-based policy")

    assert f" - at {place}" in refusal.value.message


@pytest.mark.parametrize(
    "document",
    [
        policy(allowing(**{"x" * 5_000: 1})),
        policy(allowing(Resource="x" * 5_000)),
        under(DateEquals={"k" * 2_000: "v" * 2_000}),
    ],
    ids=["element", "resource", "condition"],
)
def test_a_refusal_is_short_whatever_it_quotes(document: Raw) -> None:
    with pytest.raises(MalformedPolicyDocument) as refusal:
        parse(text(document), "identity-based policy")

    assert len(refusal.value.message) < 1_300


@pytest.mark.parametrize(
    ("twice", "place"),
    [
        ('{"Version":"2012-10-17","Statement":[%s,{"Effect":"Allow","Effect":"Deny",', "Effect"),
        (
            '{"Version":"2012-10-17","Statement":[%s,{"Effect":"Allow","Eff\\u0065ct":"Deny",',
            "Effect",
        ),
        ('{"Version":"2012-10-17","Statement":[%s,{"Effect":"Allow","Resource":"*",', "Resource"),
    ],
)
def test_an_element_given_twice_is_refused(twice: str, place: str) -> None:
    document = twice % text(allowing()) + '"Action":"s3:*","Resource":"*"}]}'

    with pytest.raises(MalformedPolicyDocument, match=rf"twice - at `\$.Statement\[1\].{place}`"):
        parse(document, "identity-based policy")


def test_one_key_may_stand_under_two_operators() -> None:
    document = under(StringLike={"a:b": '{"c": [1,'}, StringEquals={"a:b": '\\"'})

    assert len(parse(text(document), "identity-based policy").statements[0].conditions) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_white_space_does_not_count_to_the_quota(kind: PolicyKind) -> None:
    statement = allowing(Action="sts:AssumeRole", Resource=None)
    if "trust" not in kind:
        statement["Resource"] = "*"
    if kind in {"resource-based policy", "role trust policy"}:
        statement["Principal"] = "*"
    short = text(policy(statement))
    room = MOST_CHARACTERS[kind] - len(short)
    padded = short.replace('"sts:', '"sts:' + "A" * room) + " \n\t" * 1_000

    assert parse(padded, kind).statements
    with pytest.raises(MalformedPolicyDocument, match="Cannot exceed quota for PolicySize: "):
        parse(padded.replace('"sts:', '"sts:A'), kind)


def test_what_latin_script_lacks_is_refused_and_so_is_what_is_huge() -> None:
    with pytest.raises(MalformedPolicyDocument, match=r"Character 12 is not among"):
        parse('{"Version":"Ā"}', "identity-based policy")
    with pytest.raises(MalformedPolicyDocument, match="more than 131072 characters"):
        parse(" " * 131_073, "identity-based policy")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("resource-based policy", {}, "Missing required field Principal"),
        ("resource-based policy", {"Principal": "me"}, SYNTAX),
        (
            "resource-based policy",
            {"Principal": {"AWS": "me"}},
            'Invalid principal in policy: "AWS"',
        ),
        ("resource-based policy", {"Principal": {"AWS": USER + "*"}}, "Invalid principal"),
        ("resource-based policy", {"NotPrincipal": {"AWS": USER}}, "Allow with NotPrincipal"),
        ("role trust policy", {"Principal": "*"}, "Has prohibited field Resource"),
        ("role trust policy", {"Principal": "*", "Resource": None}, "AssumeRole policy may only"),
        ("service control policy", {"Principal": "*"}, "Policy document should not specify"),
    ],
)
def test_principals_stand_where_they_have_to(kind: PolicyKind, changes: Raw, words: str) -> None:
    with pytest.raises(MalformedPolicyDocument) as refusal:
        parse(text(policy(allowing(**changes))), kind)

    assert refusal.value.message.startswith(words)


def test_resource_based_policies_may_be_of_the_first_version() -> None:
    statement = allowing(Principal={"AWS": [USER, "123456789012"], "Service": "x.amazonaws.com"})

    for document in ({"Statement": statement}, policy(statement, Version="2008-10-17")):
        assert parse(text(document), "resource-based policy").statements


def test_a_statement_is_called_by_its_sid_or_its_place() -> None:
    labels = [
        [one.label for one in parse(text(document), "identity-based policy").statements]
        for document in (policy([allowing(Sid="Mine"), allowing()]), policy(allowing()))
    ]

    assert labels == [["Mine", "Statement[1]"], ["Statement"]]


@pytest.mark.slow
@settings(max_examples=400)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_rubbish_is_refused_and_nothing_else(rubbish: str) -> None:
    for kind in KINDS:
        with pytest.raises(MalformedPolicyDocument):
            parse(rubbish, kind)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)
)
SHALLOW = SCALARS | st.lists(SCALARS, max_size=3)
DEEPER = SHALLOW | st.dictionaries(st.text(max_size=8), SHALLOW, max_size=3)
JSON = DEEPER | st.lists(DEEPER, max_size=2) | st.dictionaries(st.text(max_size=8), DEEPER)
ELEMENTS = ["Version", "Statement", "Effect", "Action", "Resource", "Condition", "Sid", "Principal"]


@pytest.mark.slow
@settings(max_examples=600)
@given(st.sampled_from(ACCEPTED), st.sampled_from(ELEMENTS), JSON, st.sampled_from(KINDS))
def test_a_changed_document_is_parsed_or_refused(
    document: Raw, element: str, value: Any, kind: PolicyKind
) -> None:
    whole = msgspec.json.decode(text(document))
    (whole if element in {"Version", "Statement"} else _first(whole))[element] = value

    _parsed_or_refused(text(whole), kind)


@pytest.mark.slow
@settings(max_examples=600)
@given(st.sampled_from(ACCEPTED), st.data())
def test_a_damaged_document_is_parsed_or_refused(document: Raw, data: st.DataObject) -> None:
    whole = text(document)
    at = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(at, len(whole)))
    middle = data.draw(st.sampled_from(["", '"', "{", "}", "[", "]", ",", ":", "\\", "${", "null"]))

    for kind in KINDS:
        _parsed_or_refused(whole[:at] + middle + whole[end:], kind)


@pytest.mark.parametrize("opening", ["[", '{"Statement":', '{"Condition":{"a":'])
def test_depth_is_refused(opening: str) -> None:
    with pytest.raises(MalformedPolicyDocument):
        parse(opening * 5_000, "identity-based policy", most_characters=100_000)


def _first(whole: Raw) -> Raw:
    given = whole["Statement"]
    found: Raw = given[0] if isinstance(given, list) else given
    return found


def _parsed_or_refused(document: str, kind: PolicyKind) -> None:
    try:
        assert parse(document, kind).statements
    except MalformedPolicyDocument as refusal:
        assert refusal.message  # noqa: PT017 - either is right
