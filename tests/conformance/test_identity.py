"""Users and what they may do, through boto3 and `outcrop`'s commands."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.identities import (
    MODEL,
    PROFILE,
    Operator,
    allow,
    converse,
    deny,
    operator,
    refusal,
    refusal_soon,
)

pytestmark = pytest.mark.slow

MODELS = "arn:aws:bedrock:*::foundation-model/*"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operator(tmp_path_factory.mktemp("identity")) as opened:
        yield opened


def made(desk: Operator, name: str, *statements: dict[str, Any]) -> dict[str, str]:
    desk.user(name, *statements)
    return desk.key("--user", name)


def test_a_user_is_who_its_key_says(desk: Operator) -> None:
    key = made(desk, "ada", allow("bedrock:InvokeModel", resource=MODELS))

    identity = desk.client("sts", key).get_caller_identity()

    assert identity["Arn"] == f"arn:aws:iam::{desk.account_id}:user/ada"
    assert identity["UserId"].startswith("AIDA")


def test_a_user_may_do_what_a_policy_allows_and_nothing_else(desk: Operator) -> None:
    key = made(desk, "grace", allow("bedrock:InvokeModel", resource=MODELS))
    user = f"arn:aws:iam::{desk.account_id}:user/grace"
    model = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
    runtime, control = desk.client("bedrock-runtime", key), desk.client("bedrock", key)
    message = {"role": "user", "content": [{"text": "hi"}]}

    assert converse(runtime) == "Hello"
    assert refusal(lambda: runtime.converse_stream(modelId=MODEL, messages=[message])) == (
        "AccessDeniedException",
        (
            f"User: {user} is not authorized to perform: bedrock:InvokeModelWithResponseStream on"
            f" resource: {model} because no identity-based policy allows the"
            " bedrock:InvokeModelWithResponseStream action"
        ),
    )
    assert refusal(control.list_foundation_models) == (
        "AccessDeniedException",
        (
            f"User: {user} is not authorized to perform: bedrock:ListFoundationModels because no"
            " identity-based policy allows the bedrock:ListFoundationModels action"
        ),
    )


def test_profiles_are_listed_by_the_policy_that_amazon_documents_for_them(desk: Operator) -> None:
    everybodys = "arn:aws:bedrock:*:*:inference-profile/*"
    listing = allow("bedrock:ListInferenceProfiles", resource=everybodys)
    lister, barred, other = (
        desk.client("bedrock", made(desk, name, *statements))
        for name, statements in {
            "lister": [listing],
            "barred-lister": [listing, deny("bedrock:*", resource=everybodys)],
            "other-lister": [allow("bedrock:*", resource=f"{everybodys[:-1]}{PROFILE}")],
        }.items()
    )
    resource = f"arn:aws:bedrock:us-east-1:{desk.account_id}:inference-profile/*"

    assert lister.list_inference_profiles()["inferenceProfileSummaries"]
    for client, because in (
        (barred, "with an explicit deny in an identity-based policy"),
        (other, "because no identity-based policy allows the bedrock:ListInferenceProfiles action"),
    ):
        code, message = refusal(client.list_inference_profiles)
        assert code == "AccessDeniedException"
        assert message.endswith(
            f"to perform: bedrock:ListInferenceProfiles on resource: {resource} {because}"
        )


def test_provisioned_models_are_listed_where_policies_name_them_all(desk: Operator) -> None:
    resource = f"arn:aws:bedrock:us-east-1:{desk.account_id}:provisioned-model/*"
    given = allow("bedrock:ListProvisionedModelThroughputs", resource=resource)
    lister = desk.client("bedrock", made(desk, "unit-lister", given))
    elsewhere = desk.client("bedrock", desk.key("--user", "unit-lister"), "us-west-2")

    assert lister.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    _, message = refusal(elsewhere.list_provisioned_model_throughputs)
    assert f"on resource: {resource.replace('east-1', 'west-2')} because" in message


def test_a_profile_needs_itself_and_its_models_in_every_region(desk: Operator) -> None:
    profile = f"arn:aws:bedrock:us-east-1:{desk.account_id}:inference-profile/{PROFILE}"
    somewhere = [f"arn:aws:bedrock:us-east-{number}::foundation-model/*" for number in (1, 2)]
    everywhere = made(desk, "everywhere", allow("bedrock:InvokeModel", resource=[MODELS, profile]))
    only_models = made(desk, "only-models", allow("bedrock:InvokeModel", resource=MODELS))
    in_the_east = made(
        desk, "in-the-east", allow("bedrock:InvokeModel", resource=[*somewhere, profile])
    )

    assert converse(desk.client("bedrock-runtime", everywhere), PROFILE) == "Hello"
    _, message = refusal(lambda: converse(desk.client("bedrock-runtime", only_models), PROFILE))
    assert f"on resource: {profile} because" in message
    _, message = refusal(lambda: converse(desk.client("bedrock-runtime", in_the_east), PROFILE))
    assert f"on resource: arn:aws:bedrock:us-west-2::foundation-model/{MODEL} because" in message


def test_a_denial_says_which_statement_decided_in_the_log(desk: Operator) -> None:
    desk.order(
        "policies",
        "put",
        "NoNova",
        desk.document("n", deny("bedrock:*", Sid="No")),
    )
    desk.order(
        *["users", "put", "barred", "--policy", "NoNova"],
        *["--inline", desk.document("all", allow("*"))],
    )
    key = desk.key("--user", "barred")

    _, message = refusal(lambda: converse(desk.client("bedrock-runtime", key)))

    arn = f"arn:aws:iam::{desk.account_id}:policy/NoNova"
    assert message.endswith(f"with an explicit deny in an identity-based policy: {arn}")
    decided = f"identity-based policy {arn}, statement No"
    assert desk.logged(lambda line: line.get("decided_by") == decided)["status"] == 403


def test_a_profile_is_found_by_its_tags(desk: Operator) -> None:
    root = desk.root("bedrock")
    arns = [
        root.create_inference_profile(
            inferenceProfileName=f"of-{team}",
            modelSource={"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"},
            tags=[{"key": "team", "value": team}],
        )["inferenceProfileArn"]
        for team in ("search", "ads")
    ]
    own = {"StringEquals": {"aws:ResourceTag/team": "search"}}
    key = made(
        desk,
        "searcher",
        allow("bedrock:InvokeModel", resource=MODELS),
        allow("bedrock:InvokeModel", "bedrock:GetInferenceProfile", Condition=own),
    )
    runtime, control = desk.client("bedrock-runtime", key), desk.client("bedrock", key)

    assert converse(runtime, arns[0]) == "Hello"
    assert refusal(lambda: converse(runtime, arns[1]))[0] == "AccessDeniedException"
    control.get_inference_profile(inferenceProfileIdentifier=arns[0].rpartition("/")[2])
    denied = refusal(lambda: control.get_inference_profile(inferenceProfileIdentifier=arns[1]))
    assert denied[0] == "AccessDeniedException"


def test_a_disabled_key_and_a_deleted_user_are_refused_within_a_second(desk: Operator) -> None:
    key = made(desk, "leaver", allow("bedrock:*"))
    other = desk.key("--user", "leaver")
    first, second = desk.client("bedrock-runtime", key), desk.client("bedrock-runtime", other)
    assert (converse(first), converse(second)) == ("Hello", "Hello")

    desk.order("keys", "disable", key["aws_access_key_id"])

    assert refusal_soon(lambda: converse(first))[0] == "UnrecognizedClientException"
    assert converse(second) == "Hello"

    desk.order("keys", "enable", key["aws_access_key_id"])
    desk.order("users", "delete", "leaver")

    # The second first: the other may be known as disabled still.
    assert refusal_soon(lambda: converse(second))[0] == "UnrecognizedClientException"
    assert refusal(lambda: converse(first))[0] == "UnrecognizedClientException"


def test_service_control_policies_bind_the_root_user_of_another_account(desk: Operator) -> None:
    account_id = "444455556666"
    document = desk.document("Limits", allow("*"), deny("bedrock:ListFoundationModels"))
    desk.order(
        *["accounts", "put", "sandbox", "--account", account_id],
        *["--service-control-policy", document],
    )
    root = desk.client("bedrock", desk.key("--account", account_id))

    code, message = refusal(root.list_foundation_models)

    assert code == "AccessDeniedException"
    assert "with an explicit deny in a service control policy: arn:aws:organizations::" in message
    assert root.list_inference_profiles(maxResults=1)["inferenceProfileSummaries"]


def test_a_boundary_limits_what_policies_allow(desk: Operator) -> None:
    desk.order("policies", "put", "Edge", desk.document("edge", allow("bedrock:List*")))
    desk.order(
        *["users", "put", "bounded", "--boundary", "Edge"],
        *["--inline", desk.document("all", allow("*"))],
    )
    key = desk.key("--user", "bounded")

    assert desk.client("bedrock", key).list_foundation_models()
    _, message = refusal(lambda: converse(desk.client("bedrock-runtime", key)))
    assert message.endswith("because no permissions boundary allows the bedrock:InvokeModel action")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        desk.order("policies", "delete", "Edge")
    assert "attached to bounded" in refused.value.stderr


def test_a_document_that_amazon_would_refuse_is_refused(desk: Operator) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        desk.user("nobody", {"Effect": "Allow", "Action": "bedrock", "Resource": "*"})

    assert "Actions/Conditions must be prefaced by a vendor" in refused.value.stderr


def test_neither_the_database_nor_the_log_nor_a_listing_gives_a_secret_away(desk: Operator) -> None:
    key = made(desk, "secretive", allow("bedrock:*"))
    bearer = desk.order("keys", "create", "--user", "secretive", "--bearer").strip()
    converse(desk.client("bedrock-runtime", key))
    secrets = [
        key["aws_secret_access_key"],
        desk.server.credentials.secret_access_key,
        bearer.partition("=")[2].removeprefix("ABSK"),
    ]

    written = (
        b"".join(path.read_bytes() for path in desk.server.state.glob("outcrop.sqlite3*"))
        + desk.server.log.read_bytes()
    )

    assert key["aws_access_key_id"].encode() in written
    listed = desk.order("keys", "list")
    for secret in secrets:
        assert secret.encode() not in written
        assert secret not in listed


def folder_is_private(state: Path) -> bool:
    return (state / "sealing-keys").stat().st_mode & 0o077 == 0


def test_the_sealing_key_is_for_its_owner_alone(desk: Operator) -> None:
    assert folder_is_private(desk.server.state)
