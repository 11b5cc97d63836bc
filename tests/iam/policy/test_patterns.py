import re

import pytest
from hypothesis import given, strategies as st

from outcrop.iam.policy.patterns import (
    Context,
    Template,
    Variable,
    Wildcard,
    arn_test,
    caseless_test,
    filled_in,
    is_fixed,
    template,
    text_test,
)

KNOWN: Context = {"aws:principaltag/team": "yellow", "aws:tagkeys": ("a", "b"), "x": ""}


def meaning(text: str, context: Context = KNOWN) -> Template | None:
    return filled_in(template(text, wildcards=True, variables=True), context)


def matches(pattern: str, text: str) -> bool:
    return text_test(template(pattern, wildcards=True, variables=False))(text)


def arn_matches(pattern: str, text: str) -> bool:
    return arn_test(template(pattern, wildcards=True, variables=False))(text)


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("*", "", True),
        ("*", "a\nb", True),
        ("?", "", False),
        ("?", "ab", False),
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*c", "acd", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b?c", "abbxc", True),
        ("*ab", "aab", True),
        ("a.c", "abc", False),
        ("[a]", "[a]", True),
        ("abc", "ABC", False),
    ],
)
def test_wildcards_stand_for_any_text_and_for_one_character(
    pattern: str, text: str, *, matched: bool
) -> None:
    assert matches(pattern, text) is matched


def test_case_may_not_matter() -> None:
    assert caseless_test(template("Bedrock:Invoke*", wildcards=True, variables=False))(
        "bedrock:INVOKEMODEL"
    )


@pytest.mark.parametrize(
    ("pattern", "arn", "matched"),
    [
        # The user guide's example of what StringLike matches and ArnLike does not.
        (
            "arn:aws:someservice:*:111122223333:finance/*",
            "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
            False,
        ),
        ("arn:aws:bedrock:*::foundation-model/*", "arn:aws:bedrock:::foundation-model/m", True),
        ("arn:aws:bedrock:*::foundation-model/*", "arn:aws:bedrock:r:1:foundation-model/m", False),
        ("arn:aws:bedrock:*:*:*", "arn:aws:bedrock:r:1:a:b/c", True),
        ("arn:aws:bedrock:us-????-1:*:*", "arn:aws:bedrock:us-east-1:1:x", True),
        ("arn:aws:bedrock:r:1:x/a", "arn:aws:bedrock:r:1:x/a", True),
        ("*", "not an ARN", True),
        ("arn:*", "arn:aws:bedrock:r:1:x", False),
        ("arn:*:*:*:*:*", "arn:aws:bedrock:r:1", False),
    ],
)
def test_an_arn_matches_part_by_part(pattern: str, arn: str, *, matched: bool) -> None:
    assert arn_matches(pattern, arn) is matched


def test_variables_take_the_requests_values() -> None:
    # The user guide's bucket of a team, and of those who have none.
    bucket = "bucket-${aws:PrincipalTag/team, 'company-wide'}"

    assert meaning(bucket) == ("bucket-", "yellow")
    assert meaning(bucket, {}) == ("bucket-", "company-wide")
    assert meaning("${ AWS:principaltag/TEAM }") == ("yellow",)
    assert meaning("${x}") == ("",)


@pytest.mark.parametrize("text", ["${aws:PrincipalTag/cost}", "a${nothing}b", "${aws:TagKeys}"])
def test_a_variable_without_a_single_value_makes_a_pattern_match_nothing(text: str) -> None:
    assert meaning(text) is None


def test_three_characters_can_be_meant_literally() -> None:
    found = meaning("a${*}${?}${$}*")

    assert found == ("a", "*", "?", "$", Wildcard.ANY)
    assert text_test(found)("a*?$-")
    assert not text_test(found)("ab?$-")


def test_wildcards_in_a_value_are_plain_characters() -> None:
    found = meaning("${name}", {"name": "r*d"})

    assert found is not None
    assert [text_test(found)(text) for text in ("r*d", "red")] == [True, False]


@pytest.mark.parametrize("text", ["${", "${}", "${a", "$", "${a,b}", "${a'b}", "{a}"])
def test_what_is_no_variable_stands_for_itself(text: str) -> None:
    assert "".join(str(piece) for piece in template(text, wildcards=False, variables=True)) == text


def test_the_first_version_of_the_language_knows_no_variables() -> None:
    assert template("${a}*", wildcards=True, variables=False) == ("${a}", Wildcard.ANY)
    assert template("${a}*", wildcards=False, variables=False) == ("${a}*",)
    assert not is_fixed(template("${a}", wildcards=True, variables=True))
    assert template("${a}", wildcards=True, variables=True) == (Variable("a", None),)


@given(st.text("ab*?:", max_size=12), st.text("ab:\n", max_size=12))
def test_wildcards_mean_what_backtracking_would_find(pattern: str, text: str) -> None:
    slow = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)

    assert matches(pattern, text) is bool(re.fullmatch(slow, text, re.DOTALL))


def test_many_wildcards_cost_no_more_than_few() -> None:
    """Backtracking would take the age of the universe."""
    assert not matches("*a" * 2_000 + "b", "a" * 4_000)
    assert not arn_matches("arn:aws:s3:::" + "*a" * 2_000 + "b", "arn:aws:s3:::" + "a" * 4_000)
