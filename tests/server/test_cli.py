"""The command line: what it prints, and to whom."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from outcrop.server import cli, identity_cli
from outcrop.server.endpoint import Endpoint, new_endpoint, read_endpoint, write_endpoint
from outcrop.server.identity_arguments import NOUNS

CREDENTIALS = """[default]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY'$(id)'EXAMPLE
aws_account_id = 123456789012
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "credentials").write_text(CREDENTIALS)
    return tmp_path


def run(*arguments: object) -> int:
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


def exported(text: str) -> Mapping[str, str]:
    """The AWS_ variables of a shell that has evaluated `text`."""
    ended = subprocess.run(
        ["sh", "-euc", 'eval "$1"; env', "sh", text],
        env={},
        check=True,
        capture_output=True,
        text=True,
    )
    variables = (line.partition("=") for line in ended.stdout.splitlines())
    return {name: value for name, _, value in variables if name.startswith("AWS_")}


def test_env_is_evaluated_by_a_shell(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_endpoint(state, Endpoint(url="http://127.0.0.1:9999", region="eu-west-1"))

    assert run("env", "--state", state) == 0

    assert exported(capsys.readouterr().out) == {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY'$(id)'EXAMPLE",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.1:9999",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:9999",
        "AWS_ENDPOINT_URL_CLOUDWATCH": "http://127.0.0.1:9999",
        "AWS_ENDPOINT_URL_COST_EXPLORER": "http://127.0.0.1:9999",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9999",
    }


def test_env_takes_another_url(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_endpoint(state, Endpoint())
    run("env", "--state", state, "--url", "http://outcrop.example.net/")

    variables = exported(capsys.readouterr().out)
    assert variables["AWS_ENDPOINT_URL_BEDROCK"] == "http://outcrop.example.net"


@pytest.mark.parametrize("url", ["foo bar", "127.0.0.1:8787", "ftp://x", "http://"])
def test_env_refuses_what_is_no_url(
    state: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    write_endpoint(state, Endpoint())

    assert run("env", "--state", state, "--url", url) == 1
    assert capsys.readouterr().out == ""


def test_a_server_that_cannot_start_leaves_the_note_of_the_one_that_runs(tmp_path: Path) -> None:
    write_endpoint(tmp_path, Endpoint(url="http://127.0.0.1:9999"))

    with new_endpoint(tmp_path):
        assert read_endpoint(tmp_path) == Endpoint()

    assert read_endpoint(tmp_path).url == "http://127.0.0.1:9999"


@pytest.mark.slow
def test_env_waits_for_a_server_that_is_just_starting(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "outcrop", "env", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as env:
        state.mkdir()
        (state / "credentials").write_text(CREDENTIALS)
        write_endpoint(state, Endpoint(url="http://127.0.0.1:9999"))

        printed, _ = env.communicate(timeout=10)

    assert exported(printed)["AWS_ENDPOINT_URL_BEDROCK"] == "http://127.0.0.1:9999"


@pytest.mark.slow
def test_env_without_a_state_says_what_to_do_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"

    assert run("env", "--state", state) == 1

    said = capsys.readouterr()
    assert (said.out, state.exists()) == ("", False)
    assert "the first `outcrop serve` writes it" in said.err


@pytest.mark.parametrize("text", ["{", "", "[]", '{"url": 1}'])
def test_an_endpoint_that_cannot_be_read_is_the_default(tmp_path: Path, text: str) -> None:
    (tmp_path / "endpoint.json").write_text(text)

    assert read_endpoint(tmp_path) == Endpoint(url="http://127.0.0.1:8787", region="us-east-1")


def test_check_config_says_yes_or_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("workers = 2")
    bad.write_text("wrokers = 2")

    assert (run("check-config", good), run("check-config", bad)) == (0, 1)

    said = capsys.readouterr()
    assert said.out == f"{good} can be used\n"
    assert said.err == f"outcrop: {bad}: unknown key `wrokers`\n"


def test_check_config_knows_what_model_servers_may_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text(
        '[[model_servers]]\nname = "gpu"\nurl = "http://gpu:1/v1"\nmodels = { "no.model" = "x" }'
    )

    assert run("check-config", path) == 1

    said = capsys.readouterr().err
    assert said == f"outcrop: {path}: model server gpu: no.model is no model of the catalogue\n"


def test_serve_refuses_to_listen_beyond_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--listen", "0.0.0.0:0") == 1

    assert "set allow_remote = true (or --allow-remote)" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0

    assert capsys.readouterr().out.startswith("outcrop 0.")


@pytest.mark.parametrize("arguments", [(), ("srve",), ("serve", "--workers", "x"), ("env", "x")])
def test_what_is_no_command_gets_usage(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2

    assert "usage: outcrop" in capsys.readouterr().err


def test_the_parent_of_a_server_loads_nothing_that_serves() -> None:
    heavy = {"granian", "uvloop", "asyncio", "sqlite3", "asyncpg", "outcrop.server.wiring"}
    program = (
        "import sys, outcrop.server.cli, outcrop.server.supervisor, outcrop.iam.access_keys;"
        f"print(sorted(set(sys.modules) & {heavy!r}))"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert loaded.stdout == b"[]\n"


def test_every_command_that_is_offered_does_something(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    offered = re.findall(r"^    ([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(offered) == sorted(cli.COMMANDS)
    assert {(noun, verb) for noun in NOUNS for verb in NOUNS[noun].verbs} == set(
        identity_cli.COMMANDS
    )


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("users", "put", "bob", "--inline", "gone"), "gone: No such file or directory"),
        (("users", "put", "bob", "--tag", "team"), "'team' is not KEY=VALUE"),
        (("calibrate", "m", "--input-tokens", "many"), "invalid _tokens value: 'many'"),
        (("calibrate", "m", "--seconds", "0"), "0.0 is not between 0 and 1,000,000"),
    ],
)
def test_what_an_option_cannot_be_is_said(
    arguments: tuple[str, ...], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2

    assert capsys.readouterr().err.endswith(f": {refusal}\n")


def test_a_configuration_before_pull_is_the_one_of_pull(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone.toml"

    assert run("models", "--config", gone, "pull") == 1

    assert capsys.readouterr().err == f"outcrop: {gone}: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("usage", "--since", "yesterday"), "yesterday is no time such as 90m, 24h, 7d or"),
        (("usage", "--by", "nobody"), "--by nobody: must be one of account, model,"),
        (("explain", "amazon.nova-lite-v1:0"), "no server runs at http://127.0.0.1:8787 (`outcrop"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    state: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_endpoint(state, Endpoint())

    assert run(*arguments, "--state", state) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("outcrop: ")
    assert said in line


def test_serve_says_which_state_folder_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert run("serve", "--state", tmp_path / "file") == 1

    assert capsys.readouterr().err == f"outcrop: state = {tmp_path}/file: a file stands there\n"


def test_on_windows_it_says_in_one_line_that_it_does_not_run_there() -> None:
    code = "import sys; sys.platform = 'win32'; from outcrop.server.cli import main"

    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)

    said = b"outcrop: it runs on Linux and macOS; on Windows, within WSL\n"
    assert (ended.returncode, ended.stderr) == (1, said)
