import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from outcrop.fleet.aws_credentials import CurrentCredentials, operators_credentials
from outcrop.fleet.aws_signing import AwsCredentials
from outcrop.fleet.config import AwsConfig, InvalidFleetConfigError

FILE = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = default%secret

[lab]
aws_access_key_id = ASIALAB
aws_secret_access_key = lab
aws_session_token = token
"""


def current(config: AwsConfig, environ: Mapping[str, str]) -> AwsCredentials:
    return CurrentCredentials(operators_credentials(config, environ))()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(FILE)
    return path


def test_the_usual_variables_are_read_unless_others_are_named() -> None:
    usual = {
        "AWS_ACCESS_KEY_ID": " AKIA1 ",
        "AWS_SECRET_ACCESS_KEY": "s1\n",
        "AWS_SESSION_TOKEN": "t1",
    }
    others = {"OPS_KEY": "AKIA2", "OPS_SECRET": "s2"}
    named = AwsConfig(access_key_id_env="OPS_KEY", secret_access_key_env="OPS_SECRET")

    assert current(AwsConfig(), usual) == AwsCredentials("AKIA1", "s1", "t1")
    assert current(named, others) == AwsCredentials("AKIA2", "s2")


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_variable_that_is_not_set_is_named(missing: str) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s", missing: " "}

    with pytest.raises(InvalidFleetConfigError, match=f"{missing} is not set"):
        operators_credentials(AwsConfig(), environ)


def test_a_profile_is_read_from_its_file(file: Path) -> None:
    here = AwsConfig(profile="default", credentials_file=str(file))
    lab = AwsConfig(profile="lab")

    assert current(here, {}) == AwsCredentials("AKIADEFAULT", "default%secret")
    assert current(lab, {"AWS_SHARED_CREDENTIALS_FILE": str(file)}) == AwsCredentials(
        "ASIALAB", "lab", "token"
    )


@pytest.mark.parametrize(
    "text", ["", "[other]\naws_access_key_id = a", "[lab]\naws_access_key_id = a", "no ini"]
)
def test_a_file_without_the_profiles_credentials_is_refused_without_its_content(
    file: Path, text: str
) -> None:
    file.write_text(text)

    with pytest.raises(InvalidFleetConfigError, match=r"no credentials in the profile lab") as no:
        operators_credentials(AwsConfig(profile="lab", credentials_file=str(file)), {})

    assert "no ini" not in str(no.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    config = AwsConfig(profile="lab", credentials_file=str(tmp_path / "nothing"))

    with pytest.raises(InvalidFleetConfigError, match="FileNotFoundError"):
        operators_credentials(config, {})


def test_renewed_credentials_are_used_at_once(file: Path) -> None:
    config = AwsConfig(profile="lab", credentials_file=str(file))
    credentials = CurrentCredentials(operators_credentials(config, {}))
    before = credentials()

    file.write_text(FILE.replace("ASIALAB", "ASIANEW"))
    os.utime(file, ns=(1, 1))

    assert before.access_key_id == "ASIALAB"
    assert credentials().access_key_id == "ASIANEW"
    file.unlink()
    with pytest.raises(InvalidFleetConfigError):
        credentials()


def test_a_file_is_not_read_again_while_it_is_the_same(file: Path) -> None:
    config = AwsConfig(profile="lab", credentials_file=str(file))
    credentials = CurrentCredentials(operators_credentials(config, {}))

    assert credentials() is credentials()
