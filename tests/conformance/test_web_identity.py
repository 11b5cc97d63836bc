"""AssumeRoleWithWebIdentity through boto3, with an issuer in a process of its own."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.boto3_client import client_of
from tests.conformance.identities import (
    Operator,
    allow,
    converse,
    forwarded_for,
    operator,
    refusal,
)
from tests.secrets_in_play import note

pytestmark = pytest.mark.slow

AUDIENCE = "sts.amazonaws.com"
FAILURES = 20
"""That an address may have at once."""
POD = "system:serviceaccount:search:indexer"


class Issuer:
    """Signs as a cluster does; its public keys are served by another process."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._folder = folder
        self.rsa = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        (folder / ".well-known").mkdir()
        configuration = {"issuer": url, "jwks_uri": f"{url}/keys.json"}
        (folder / ".well-known/openid-configuration").write_text(json.dumps(configuration))
        self.publish({"first": self.rsa, "second": self.ec})

    @property
    def name(self) -> str:
        return self.url.partition("://")[2]

    def publish(self, keys: Mapping[str, Any]) -> None:
        rows = [{**_public(key), "kid": kid, "use": "sig"} for kid, key in keys.items()]
        (self._folder / "keys.json").write_text(json.dumps({"keys": rows}))

    def token(
        self,
        *,
        key: Any = None,
        algorithm: str = "RS256",
        kid: str = "first",
        **claims: Any,
    ) -> str:
        now = int(time.time())
        said = {"iss": self.url, "aud": [AUDIENCE], "sub": POD, "iat": now, "exp": now + 600}
        token = jwt.encode(
            {**said, **claims}, key or self.rsa, algorithm=algorithm, headers={"kid": kid}
        )
        return note(token, "an identity token, whole")


def _public(key: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    row: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return row


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    limits = f"""
        [limits]
        failed_authentications = {FAILURES}
        failed_authentications_per_minute = 1
        """
    with operator(tmp_path_factory.mktemp("web"), more=limits) as opened:
        yield opened


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    folder = tmp_path_factory.mktemp("issuer")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        port = re.search(r"port (\d+)", process.stdout.readline())
        assert port
        yield Issuer(folder, f"http://127.0.0.1:{port[1]}")
        process.terminate()


@pytest.fixture(scope="module")
def role_arn(desk: Operator, issuer: Issuer) -> str:
    """Of a role for one service account alone."""
    desk.order("issuers", "put", issuer.url, "--client-id", AUDIENCE)
    provider = f"arn:aws:iam::{desk.account_id}:oidc-provider/{issuer.name}"
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": provider},
        "Condition": {"StringEquals": {f"{issuer.name}:sub": POD, f"{issuer.name}:aud": AUDIENCE}},
    }
    return desk.order(
        *["roles", "put", "Indexer", "--trust", desk.document("trust", trust)],
        *["--inline", desk.document("calls", allow("bedrock:InvokeModel"))],
    ).strip()


def unsigned(desk: Operator) -> Any:
    """Signed by nobody, as the SDKs do it."""
    return client_of(desk.server, "sts", signature_version=UNSIGNED)


@pytest.fixture
def assume(desk: Operator, role_arn: str) -> Callable[[str], Any]:
    sts = unsigned(desk)

    def assume(token: str) -> Any:
        return sts.assume_role_with_web_identity(
            RoleArn=role_arn, RoleSessionName="pod", WebIdentityToken=token
        )

    return assume


def test_a_pod_assumes_its_role_as_every_sdk_does(
    desk: Operator, issuer: Issuer, role_arn: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "token").write_text(issuer.token())
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", role_arn)
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "pod")
    monkeypatch.setenv("AWS_ENDPOINT_URL", desk.server.url)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    session = boto3.Session(region_name="us-east-1")

    assert converse(session.client("bedrock-runtime")) == "Hello"
    arn = session.client("sts").get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{desk.account_id}:assumed-role/Indexer/pod"


def test_the_answer_says_whom_the_token_spoke_of(
    assume: Callable[[str], Any], desk: Operator, issuer: Issuer
) -> None:
    answer = assume(issuer.token())

    assert answer["SubjectFromWebIdentityToken"] == POD
    assert answer["Audience"] == AUDIENCE
    assert answer["Provider"].endswith(f"oidc-provider/{issuer.name}")


def test_another_subject_is_not_trusted(assume: Callable[[str], Any], issuer: Issuer) -> None:
    assert refusal(lambda: assume(issuer.token(sub="system:serviceaccount:ads:indexer"))) == (
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )


def test_the_trail_says_for_whom_an_issuer_vouched(
    assume: Callable[[str], Any], desk: Operator, issuer: Issuer, role_arn: str
) -> None:
    before = len(desk.trail())
    given = assume(issuer.token())["Credentials"]["AccessKeyId"]
    refusal(lambda: assume(issuer.token(sub="system:serviceaccount:ads:indexer")))
    refusal(lambda: assume(issuer.token(aud="somebody-else")))
    line, refused = desk.trail()[before:]

    provider = f"arn:aws:iam::{desk.account_id}:oidc-provider/{issuer.name}"
    assert line["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{provider}:{AUDIENCE}:{POD}",
        "userName": POD,
        "identityProvider": provider,
    }
    assert line["eventName"] == refused["eventName"] == "AssumeRoleWithWebIdentity"
    assert line["requestParameters"] == {"roleArn": role_arn, "roleSessionName": "pod"}
    assert line["responseElements"]["credentials"]["accessKeyId"] == given
    assert (line["recipientAccountId"], line["awsRegion"]) == (desk.account_id, "us-east-1")
    assert refused["userIdentity"]["userName"] == "system:serviceaccount:ads:indexer"
    assert (refused["errorCode"], refused["responseElements"]) == ("AccessDenied", None)


def test_tokens_that_are_no_good_are_refused_in_amazons_words(
    assume: Callable[[str], Any], issuer: Issuer
) -> None:
    now = int(time.time())
    stranger = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    tampered = issuer.token()[:-8] + "AAAAAAAA"
    none = jwt.encode({"iss": issuer.url, "sub": POD, "aud": AUDIENCE}, "", algorithm="none")
    shared = jwt.encode(
        {"iss": issuer.url, "sub": POD, "aud": AUDIENCE, "exp": now + 60},
        "x" * 64,
        algorithm="HS256",
        headers={"kid": "first"},
    )

    assert refusal(lambda: assume(issuer.token(exp=now - 10)))[0] == "ExpiredTokenException"
    for bad in (
        issuer.token(aud="somebody-else"),
        issuer.token(iss="https://elsewhere.example.net"),
        issuer.token(key=stranger),
        issuer.token(kid="unknown"),
        issuer.token(nbf=now + 3_600),
        tampered,
        none,
        shared,
        "not.a.token",
    ):
        code, message = refusal(lambda bad=bad: assume(bad))  # type: ignore[misc]
        assert code == "InvalidIdentityToken", message


def test_every_key_of_the_issuer_is_of_use(assume: Callable[[str], Any], issuer: Issuer) -> None:
    token = issuer.token(key=issuer.ec, algorithm="ES256", kid="second")

    assert assume(token)["SubjectFromWebIdentityToken"] == POD


def test_an_address_that_shows_bad_tokens_waits_and_others_do_not(
    desk: Operator, role_arn: str, issuer: Issuer
) -> None:
    def assume(token: str, address: str) -> str:
        """The error's code."""
        sts = forwarded_for(unsigned(desk), address)
        try:
            sts.assume_role_with_web_identity(
                RoleArn=role_arn, RoleSessionName="pod", WebIdentityToken=token
            )
        except ClientError as error:
            code: str = error.response["Error"]["Code"]
            return code
        return "Success"

    known, bad = issuer.token(), issuer.token(aud="somebody-else")
    first = assume(bad, "203.0.113.5")
    proven = assume(known, "203.0.113.5")
    rest = [assume(bad, "203.0.113.5") for _ in range(FAILURES)]

    assert (first, proven, rest[-1]) == ("InvalidIdentityToken", "Success", "Throttling")
    assert assume(issuer.token(sub=POD, jti="new"), "203.0.113.5") == "Throttling"
    assert assume(known, "203.0.113.5") == "Success"
    assert assume(issuer.token(), "203.0.113.6") == "Success"


def test_a_role_that_trusts_users_trusts_no_token(
    desk: Operator, assume: Callable[[str], Any], issuer: Issuer
) -> None:
    open_to_all = {"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": "*"}}
    desk.order("roles", "put", "Users", "--trust", desk.document("users", open_to_all))
    sts = unsigned(desk)

    code, _ = refusal(
        lambda: sts.assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{desk.account_id}:role/Users",
            RoleSessionName="pod",
            WebIdentityToken=issuer.token(),
        )
    )

    assert code == "AccessDenied"
