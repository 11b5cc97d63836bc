from datetime import timedelta

import msgspec

from outcrop.iam.policy.context import (
    Environment,
    environment_context,
    is_constant,
    principal_context,
    tagged,
)
from tests.iam.policy.world import NOW, ROLE, USER, session, user


def test_a_user_has_a_name_and_no_token() -> None:
    keys = principal_context(user(Team="search"))

    assert (keys["aws:username"], keys["aws:principalarn"]) == ("alice", USER)
    assert keys["aws:principaltag/team"] == "search"
    assert "aws:tokenissuetime" not in keys
    assert "aws:multifactorauthpresent" not in keys


def test_a_session_is_its_role_and_says_when_it_began() -> None:
    keys = principal_context(session())

    assert (keys["aws:principalarn"], keys["aws:principaltype"]) == (ROLE, "AssumedRole")
    assert keys["aws:tokenissuetime"] == "2026-11-22T12:00:00Z"
    assert keys["aws:multifactorauthpresent"] == "false"
    assert "aws:username" not in keys


def test_a_second_factor_has_an_age() -> None:
    principal = msgspec.structs.replace(session(), mfa_authenticated_at=NOW)
    later = Environment(now=NOW + timedelta(days=1, seconds=5), is_secure=False)

    assert principal_context(principal)["aws:multifactorauthpresent"] == "true"
    assert environment_context(later, principal) == {
        "aws:currenttime": "2026-11-23T12:00:05Z",
        "aws:epochtime": "1795435205",
        "aws:securetransport": "false",
        "aws:multifactorauthage": "86405",
    }


def test_what_is_constant_comes_from_the_principal_or_the_resource() -> None:
    environment = Environment(
        now=NOW, source_ip="10.0.0.1", is_secure=True, user_agent="x", referer="y"
    )

    assert all(map(is_constant, principal_context(session(Team="search"))))
    assert not any(map(is_constant, environment_context(environment, session())))
    assert not any(map(is_constant, tagged("aws:ResourceTag", {"Team": "search"})))
