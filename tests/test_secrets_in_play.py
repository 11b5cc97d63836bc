"""The scan of all that servers write finds what is there to be found."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aws_bedrock_token_generator import BedrockTokenGenerator
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, strategies as st

from tests.outcrop_process import outcrop_process
from tests.secrets_in_play import leaks, note

SECRET = "planted/secret+of-a-test-of-the-scan"
SHORTEST_SECRET = "sixteen+letters/"


def signed_with(secret: str, token: str | None = None) -> None:
    request = AWSRequest("GET", "http://127.0.0.1/foundation-models")
    SigV4Auth(Credentials("AKIAPLANTED", secret, token), "bedrock", "us-east-1").add_auth(request)


@pytest.mark.parametrize("secret", [SECRET, "planted%2Fsecret%2Bof-a-test-of-the-scan"])
def test_what_was_noted_is_found_however_it_is_written(secret: str) -> None:
    note(SECRET, "a planted secret")

    assert leaks(f'{{"principal":"{secret}"}}'.encode()) == ["a planted secret"]
    assert leaks(b"nothing of the kind") == []


@given(
    before=st.binary(max_size=40),
    secret=st.sampled_from([SHORTEST_SECRET, SECRET, SECRET + SHORTEST_SECRET]),
    after=st.binary(max_size=40),
)
def test_what_was_noted_is_found_wherever_it_stands(
    before: bytes, secret: str, after: bytes
) -> None:
    note(secret, "a planted secret")

    assert leaks(before + secret.encode() + after) == ["a planted secret"]


def test_what_a_client_signs_with_is_noted_by_itself() -> None:
    signed_with("the-secret-of-some-client-1", "the-session-token-of-some-client")

    assert leaks(b"x the-secret-of-some-client-1 y") == ["a client's secret access key"]
    assert leaks(b"the-session-token-of-some-client") == ["a client's session token"]


def short_term() -> str:
    key = Credentials("AKIAPLANTED", "the-secret-of-some-client-2")
    token: str = BedrockTokenGenerator().get_token(key, "us-east-1")
    return token


FORMS: dict[str, Callable[[], str]] = {
    "a long-term API key": lambda: "ABSK" + "QmVkcm9jaw" * 4,
    "a short-term API key": short_term,
    "an identity token": lambda: "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwb2QifQ.c2lnbmF0dXJlLW9mLWE",
    "a private key": lambda: "-----BEGIN EC PRIVATE KEY-----",
    "a signature": lambda: "X-Amz-Signature=" + "0f" * 32,
}


@pytest.mark.parametrize("form", FORMS)
def test_some_secrets_are_known_by_their_looks(form: str) -> None:
    assert leaks(f'{{"path":"{FORMS[form]()}"}}'.encode()) == [form]


@pytest.mark.slow
@pytest.mark.parametrize(
    "leak", ["print(SECRET)", "sys.stderr.write(SECRET)", "logging.warning('%s', SECRET)"]
)
def test_a_test_that_logs_or_prints_a_secret_fails(tmp_path: Path, leak: str) -> None:
    planted = tmp_path / "test_planted.py"
    head = f"import logging, sys\nfrom tests.secrets_in_play import note\nSECRET = {SECRET!r}\n"
    planted.write_text(f"{head}def test_it():\n    note(SECRET, 'a planted secret')\n    {leak}\n")
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", os.devnull, planted],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )

    assert ended.returncode == 1
    assert "was logged or printed: a planted secret" in ended.stdout


LEAKY = """
import pathlib, sys
state = pathlib.Path(sys.argv[sys.argv.index("--state") + 1])
{leak}
(state / "endpoint.json").write_text('{{"url": "http://127.0.0.1:1"}}')
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "where"),
    [
        ("sys.stderr.write({secret!r})", "stderr.log"),
        ("print({secret!r}, flush=True)", "stdout.log"),
        ('(state / "outcrop.sqlite3").write_text({secret!r})', "outcrop.sqlite3"),
    ],
)
def test_a_server_that_tells_a_secret_fails_its_test(tmp_path: Path, leak: str, where: str) -> None:
    note(SECRET, "a planted secret")
    program = LEAKY.format(leak=leak.format(secret=f"<{SECRET}>"))
    command = [sys.executable, "-c", program]

    with (
        pytest.raises(AssertionError, match=f"{where}: a planted secret") as failed,
        outcrop_process(tmp_path, command=command),
    ):
        pass

    assert SECRET not in str(failed.value)


@pytest.mark.slow
def test_what_a_server_writes_elsewhere_is_looked_at_too(tmp_path: Path) -> None:
    note(SECRET, "a planted secret")
    audit = tmp_path / "audit" / "calls.jsonl"
    audit.parent.mkdir()
    audit.write_text(SECRET)
    command = [sys.executable, "-c", LEAKY.format(leak="")]

    with (
        pytest.raises(AssertionError, match=r"calls\.jsonl: a planted secret"),
        outcrop_process(tmp_path / "s", config=f'[audit]\nfile = "{audit}"', command=command),
    ):
        pass


@pytest.mark.slow
def test_what_a_server_was_given_is_noted(tmp_path: Path) -> None:
    with outcrop_process(
        tmp_path, environment={"SOME_API_KEY": "sk-of-a-model-server-1"}
    ) as server:
        secret = server.credentials.secret_access_key
    sealing = (tmp_path / "sealing-keys").read_bytes().strip()

    assert leaks(b"sk-of-a-model-server-1") == ["SOME_API_KEY"]
    assert leaks(secret.encode()) == ["the root user's secret"]
    assert leaks(sealing) == ["a sealing key"]
