"""Resource policies through boto3: within an account, and from one account to another."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.identities import (
    MODEL,
    Operator,
    allow,
    converse,
    deny,
    operator,
    refusal,
    soon,
)
from tests.waiting import eventually

pytestmark = pytest.mark.slow

OTHER = "444455556666"
CONFIG = """
    [provisioned_throughput]
    creating_s = 0.1
    [[prices]]
    model = "amazon.nova-lite-v1:0"
    input_per_1k = 1
    output_per_1k = 1
    """
MESSAGE = {"role": "user", "content": [{"text": "hi"}]}
BODY = json.dumps({"messages": [MESSAGE]})
INVALID = "The provided model identifier is invalid."


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("shared")
    with operator(folder, more=CONFIG) as opened:
        opened.order("accounts", "put", "Other", "--account", OTHER)
        yield opened


@pytest.fixture(scope="module")
def owner(desk: Operator) -> Any:
    return desk.root("bedrock")


@pytest.fixture
def profile(desk: Operator, owner: Any) -> Iterator[str]:
    made = owner.create_inference_profile(
        inferenceProfileName="shared",
        modelSource={"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"},
        tags=[{"key": "team", "value": "search"}],
    )["inferenceProfileArn"]
    yield made
    with suppress(owner.exceptions.ResourceNotFoundException):
        owner.delete_inference_profile(inferenceProfileIdentifier=opened_again(owner, made))


@pytest.fixture
def units(owner: Any) -> Iterator[str]:
    made = owner.create_provisioned_model_throughput(
        provisionedModelName="shared", modelId=f"{MODEL}:24k", modelUnits=1
    )["provisionedModelArn"]
    give_up = time.monotonic() + 10
    while status_of(owner, made) != "InService":
        assert time.monotonic() < give_up
    yield made
    owner.delete_provisioned_model_throughput(provisionedModelId=opened_again(owner, made))


def opened_again(owner: Any, arn: str) -> str:
    """Some policies here let nobody delete what they are at."""
    with suppress(owner.exceptions.ResourceNotFoundException):
        owner.delete_resource_policy(resourceArn=arn)
    return arn


def status_of(owner: Any, units: str) -> Any:
    return owner.get_provisioned_model_throughput(provisionedModelId=units)["status"]


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=2)


def opened(arn: str, principal: str, *actions: str, **rest: Any) -> dict[str, Any]:
    named = "*" if principal == "*" else {"AWS": principal}
    return allow(*(actions or ("bedrock:*",)), resource=arn, Principal=named, **rest)


def closed(arn: str) -> dict[str, Any]:
    return deny("bedrock:*", resource=arn, Principal="*", Sid="Closed")


def put(owner: Any, arn: str, *statements: dict[str, Any]) -> Any:
    return owner.put_resource_policy(resourceArn=arn, resourcePolicy=policy(*statements))


def stranger(desk: Operator, name: str, *statements: dict[str, Any]) -> dict[str, str]:
    """The key of a user of the other account; without statements one that may do everything."""
    desk.user(name, *(statements or [allow("*")]), account=OTHER)
    return desk.key("--user", name, "--account", OTHER)


def test_a_policy_is_put_read_replaced_and_deleted(owner: Any, profile: str) -> None:
    first, second = policy(opened(profile, OTHER)), policy(opened("*", "*"))

    answer = owner.put_resource_policy(resourceArn=profile, resourcePolicy=first)
    read = owner.get_resource_policy(resourceArn=profile)["resourcePolicy"]
    owner.put_resource_policy(resourceArn=profile, resourcePolicy=second)

    assert answer["resourceArn"] == profile
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert read == first
    assert owner.get_resource_policy(resourceArn=profile)["resourcePolicy"] == second
    owner.delete_resource_policy(resourceArn=profile)
    for call in (owner.get_resource_policy, owner.delete_resource_policy):
        with pytest.raises(owner.exceptions.ResourceNotFoundException):
            call(resourceArn=profile)


def test_a_policy_goes_with_its_profile(owner: Any, profile: str) -> None:
    put(owner, profile, opened(profile, OTHER))

    owner.delete_inference_profile(inferenceProfileIdentifier=profile)

    with pytest.raises(owner.exceptions.ResourceNotFoundException):
        owner.get_resource_policy(resourceArn=profile)


@pytest.mark.parametrize(
    "change",
    [
        lambda arn: arn.replace("us-east-1", "eu-west-1"),
        lambda arn: arn.replace(":application-inference-profile/", ":guardrail/"),
        lambda arn: arn.rpartition(":")[0].rpartition(":")[0] + f":{OTHER}:" + arn.split(":")[5],
        lambda arn: arn[:-12] + "abcdefghijkl",
        lambda _: "no ARN",
    ],
    ids=["region", "guardrail", "account", "gone", "text"],
)
def test_nothing_else_takes_a_policy(
    owner: Any, profile: str, change: Callable[[str], str]
) -> None:
    arn = change(profile)

    code, _ = refusal(lambda: put(owner, arn, opened("*", OTHER)))

    assert code == "ValidationException"


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        (allow("bedrock:*"), "Missing required field Principal - at `$.Statement[0].Principal`"),
        (opened("arn:aws:s3:::bucket", OTHER), "it must be or cover arn:aws:bedrock"),
        (opened("*", OTHER, "s3:GetObject"), "Action does not apply to any resource(s)"),
        (opened("*", "somebody"), 'Invalid principal in policy: "AWS":"somebody"'),
    ],
    ids=["principal", "resource", "action", "who"],
)
def test_a_document_that_could_never_apply_is_refused(
    owner: Any, profile: str, statement: dict[str, Any], complaint: str
) -> None:
    code, message = refusal(lambda: put(owner, profile, statement))

    assert code == "ValidationException"
    assert complaint in message


def calls(desk: Operator, key: dict[str, str], arn: str) -> list[Callable[[], object]]:
    runtime = desk.client("bedrock-runtime", key)
    return [
        lambda: converse(runtime, arn),
        lambda: list(runtime.converse_stream(modelId=arn, messages=[MESSAGE])["stream"]),
        lambda: runtime.invoke_model(modelId=arn, body=BODY)["body"].read(1 << 20),
        lambda: list(runtime.invoke_model_with_response_stream(modelId=arn, body=BODY)["body"]),
    ]


def test_another_account_calls_what_is_shared_with_it_and_nothing_else(
    desk: Operator, owner: Any, profile: str
) -> None:
    key = stranger(desk, "guest")
    before = [refusal(call) for call in calls(desk, key, profile)]

    put(owner, profile, opened(profile, f"arn:aws:iam::{OTHER}:user/guest"))
    during = [call() for call in calls(desk, key, profile)]
    seen = desk.client("bedrock", key).get_inference_profile(inferenceProfileIdentifier=profile)
    owner.delete_resource_policy(resourceArn=profile)
    after = [refusal(call) for call in calls(desk, key, profile)]

    assert before == after == [("ValidationException", INVALID)] * 4
    assert during[0] == "Hello"
    assert all(during)
    assert seen["inferenceProfileArn"] == profile


def test_units_are_called_from_another_account(desk: Operator, owner: Any, units: str) -> None:
    key = stranger(desk, "tenant")
    put(owner, units, opened(units, OTHER))
    control = desk.client("bedrock", key)

    assert [bool(call()) for call in calls(desk, key, units)] == [True] * 4
    assert control.get_provisioned_model_throughput(provisionedModelId=units)["modelUnits"] == 1
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.update_provisioned_model_throughput(
            provisionedModelId=units, desiredProvisionedModelName="mine"
        )
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.delete_provisioned_model_throughput(provisionedModelId=units)


def test_both_accounts_have_to_allow(desk: Operator, owner: Any, profile: str) -> None:
    reader = stranger(desk, "reader", allow("bedrock:Get*"))
    runtime = desk.client("bedrock-runtime", reader)
    put(owner, profile, opened(profile, OTHER))
    own = refusal(lambda: converse(runtime, profile))

    put(owner, profile, opened(profile, OTHER, "bedrock:GetInferenceProfile"))
    everything = stranger(desk, "everything")
    theirs = refusal(lambda: converse(desk.client("bedrock-runtime", everything), profile))

    said = "is not authorized to perform: bedrock:InvokeModel on resource: " + profile
    assert own == (
        "AccessDeniedException",
        (
            f"User: arn:aws:iam::{OTHER}:user/reader {said} because no identity-based policy"
            " allows the bedrock:InvokeModel action"
        ),
    )
    assert theirs == (
        "AccessDeniedException",
        (
            f"User: arn:aws:iam::{OTHER}:user/everything {said} because no resource-based policy"
            " allows the bedrock:InvokeModel action"
        ),
    )


def test_who_is_not_named_learns_nothing(desk: Operator, owner: Any, profile: str) -> None:
    key = stranger(desk, "curious")
    gone = profile[:-12] + "abcdefghijkl"
    only_ada = f"arn:aws:iam::{OTHER}:user/ada"
    elsewhere = {"StringEquals": {"aws:PrincipalAccount": "777788889999"}}
    put(
        owner,
        profile,
        opened(profile, only_ada),
        opened(profile, "*", Condition=elsewhere),
        closed(profile),
    )
    control = desk.client("bedrock", key)

    def told(arn: str) -> list[tuple[str, str]]:
        asked = [
            *calls(desk, key, arn),
            lambda: desk.client("bedrock-runtime", key).count_tokens(
                modelId=arn, input={"converse": {"messages": [MESSAGE]}}
            ),
            lambda: control.get_inference_profile(inferenceProfileIdentifier=arn),
            lambda: control.delete_inference_profile(inferenceProfileIdentifier=arn),
            lambda: control.get_resource_policy(resourceArn=arn),
        ]
        return [
            (code, text.replace(arn, "ARN")) for code, text in (refusal(call) for call in asked)
        ]

    assert told(profile) == told(gone)


def test_a_root_user_needs_to_be_let_in_too(desk: Operator, owner: Any, profile: str) -> None:
    key = desk.key("--account", OTHER)
    runtime = desk.client("bedrock-runtime", key)
    assert refusal(lambda: converse(runtime, profile)) == ("ValidationException", INVALID)

    put(owner, profile, opened(profile, OTHER, "bedrock:GetInferenceProfile"))
    assert "no resource-based policy allows" in refusal(lambda: converse(runtime, profile))[1]

    put(owner, profile, opened(profile, OTHER))
    assert converse(runtime, profile) == "Hello"


def test_tokens_are_counted_for_who_is_let_in(desk: Operator, owner: Any, profile: str) -> None:
    runtime = desk.client("bedrock-runtime", stranger(desk, "counter"))

    def counted() -> Any:
        return runtime.count_tokens(modelId=profile, input={"converse": {"messages": [MESSAGE]}})

    put(owner, profile, opened(profile, OTHER, "bedrock:InvokeModel"))
    denied = refusal(counted)
    put(owner, profile, opened(profile, OTHER, "bedrock:CountTokens"))
    allowed = refusal(counted)

    assert "no resource-based policy allows the bedrock:CountTokens action" in denied[1]
    # The fake server cannot count: it was asked.
    assert allowed[0] != "AccessDeniedException"


def test_a_policy_at_units_is_enough_within_the_account(
    desk: Operator, owner: Any, units: str
) -> None:
    desk.user("powerless", allow("sts:GetCallerIdentity"))
    user = f"arn:aws:iam::{desk.account_id}:user/powerless"
    runtime = desk.client("bedrock-runtime", desk.key("--user", "powerless"))
    before = refusal(lambda: converse(runtime, units))

    put(owner, units, opened(units, user, "bedrock:InvokeModel"))

    assert "no identity-based policy allows the bedrock:InvokeModel action" in before[1]
    assert converse(runtime, units) == "Hello"


def test_a_boundary_does_not_limit_who_is_named_directly(
    desk: Operator, owner: Any, units: str
) -> None:
    desk.order("policies", "put", "Reads", desk.document("reads", allow("bedrock:Get*")))
    invoking = desk.document("bounded", allow("bedrock:InvokeModel"))
    desk.order("users", "put", "bounded", "--boundary", "Reads", "--inline", invoking)
    user = f"arn:aws:iam::{desk.account_id}:user/bounded"
    runtime = desk.client("bedrock-runtime", desk.key("--user", "bounded"))

    put(owner, units, opened(units, desk.account_id))
    through_account = refusal(lambda: converse(runtime, units))
    put(owner, units, opened(units, user))

    assert "because no permissions boundary allows" in through_account[1]
    assert converse(runtime, units) == "Hello"


def test_a_denial_at_the_resource_holds_for_all_but_its_removal(
    desk: Operator, owner: Any, profile: str
) -> None:
    desk.user("mighty", allow("*"))
    mighty = desk.client("bedrock-runtime", desk.key("--user", "mighty"))
    put(owner, profile, closed(profile))

    refused = [
        refusal(lambda: converse(mighty, profile)),
        refusal(lambda: converse(desk.root("bedrock-runtime"), profile)),
    ]
    owner.delete_resource_policy(resourceArn=profile)

    for code, message in refused:
        assert code == "AccessDeniedException"
        assert message.endswith("with an explicit deny in a resource-based policy")
    decided = f"resource-based policy {profile}, statement Closed"
    assert desk.logged(lambda line: line.get("decided_by") == decided)["status"] == 403
    assert converse(mighty, profile) == "Hello"


def test_a_check_knows_which_statement_at_the_resource_decides(
    desk: Operator, owner: Any, profile: str, units: str
) -> None:
    stranger(desk, "asked", allow("bedrock:Invoke*"))
    named = f"arn:aws:iam::{OTHER}:user/asked"
    put(owner, profile, opened(profile, named, "bedrock:Get*", Sid="Look"))
    put(owner, units, opened(units, desk.account_id), closed(units))

    def checked(principal: str, model_id: str) -> Any:
        words = ["policy", "check", "--principal", principal, "--model", model_id, "--json"]
        with pytest.raises(subprocess.CalledProcessError) as denied:
            desk.order(*words)
        return json.loads(denied.value.stdout)["needed"][0]

    across = checked(named, profile)
    within = checked(f"arn:aws:iam::{desk.account_id}:root", units)

    assert (across["allowed"], across["decidedBy"]) == (
        False,
        "no resource-based policy allows it",
    )
    assert (within["allowed"], within["decidedBy"]) == (
        False,
        f"resource-based policy {units}, statement Closed",
    )


def test_who_calls_pays_and_the_profile_is_told(desk: Operator, owner: Any, profile: str) -> None:
    key = stranger(desk, "payer")
    put(owner, profile, opened(profile, OTHER))

    converse(desk.client("bedrock-runtime", key), profile)

    def recorded() -> list[Any] | None:
        """The journal is brought into the store once a second."""
        grouped = ["--by", "account", "--by", "profile", "--by", "tag:team"]
        used = json.loads(desk.order("usage", *grouped, "--json"))
        return [line for line in used if profile in line["keys"]] or None

    of_profile = soon(recorded)
    assert [line["keys"] for line in of_profile] == [[OTHER, profile, "search"]]
    assert float(of_profile[0]["cost_usd"]) == 0.004
    told = [line for line in desk.trail() if line["userIdentity"]["arn"].endswith(":user/payer")]
    assert [line["recipientAccountId"] for line in told] == [OTHER, desk.account_id]
    assert len({line["sharedEventID"] for line in told}) == 1
    assert len({line["eventID"] for line in told}) == 2
    assert told[0]["resources"] == [{"accountId": desk.account_id, "ARN": profile}]


def test_every_worker_follows_within_a_second(tmp_path: Path) -> None:
    with operator(tmp_path, arguments=["--workers", "2"]) as desk:
        desk.order("accounts", "put", "Other", "--account", OTHER)
        owner, key = desk.root("bedrock"), stranger(desk, "guest")
        arn = owner.create_inference_profile(
            inferenceProfileName="shared",
            modelSource={"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"},
        )["inferenceProfileArn"]

        # Each client has a connection of its own: both workers get some.
        def answers() -> set[str]:
            return {answer_of(desk.client("bedrock-runtime", key), arn) for _ in range(12)}

        put(owner, arn, opened(arn, OTHER))
        assert eventually(lambda: answers() == {"Hello"})

        owner.delete_resource_policy(resourceArn=arn)
        assert eventually(lambda: answers() == {INVALID})


def answer_of(runtime: Any, arn: str) -> str:
    try:
        return converse(runtime, arn)
    except ClientError as error:
        return str(error.response["Error"]["Message"])
