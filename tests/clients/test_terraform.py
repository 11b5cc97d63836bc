"""terraform apply, plan (empty), import and destroy, with the unmodified AWS provider."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.outcrop_process import OutcropProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "terraform"
MIRRORS = (
    "/opt/*/registry.terraform.io",
    "/usr/local/share/terraform/plugins/registry.terraform.io",
    "/usr/share/terraform/plugins/registry.terraform.io",
)


class Terraform:
    def __init__(self, folder: Path, server: OutcropProcess) -> None:
        self._folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._variables = own | server.environment() | {"TF_IN_AUTOMATION": "1"}
        self._variables |= {"TF_CLI_CONFIG_FILE": str(_cli_config(folder))}

    def __call__(self, *arguments: str, expect: Sequence[int] = (0,)) -> str:
        done = subprocess.run(
            ["terraform", *arguments],
            cwd=self._folder,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in expect, done.stdout + done.stderr
        return done.stdout

    def outputs(self) -> dict[str, Any]:
        return {name: out["value"] for name, out in json.loads(self("output", "-json")).items()}


@pytest.fixture(scope="module")
def terraform(server: OutcropProcess, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    folder = tmp_path_factory.mktemp("terraform")
    shutil.copy(HERE / "main.tf", folder)
    terraform = Terraform(folder, server)
    started = terraform("init", "-input=false", "-no-color", expect=(0, 1))
    if not (folder / ".terraform" / "providers").exists():
        pytest.skip(f"the AWS provider cannot be had: {started}")
    return terraform


def test_apply_plan_import_destroy(terraform: Terraform) -> None:
    terraform("apply", "-auto-approve", "-input=false", "-no-color")
    applied = terraform.outputs()

    # Exit code 2 would mean a difference between what was applied and what is read back.
    terraform("plan", "-detailed-exitcode", "-input=false", "-no-color", expect=(0,))

    for address, identifier in (
        ("aws_bedrock_inference_profile.team", applied["profile_arn"]),
        ("aws_bedrock_provisioned_model_throughput.units", applied["units_arn"]),
    ):
        terraform("state", "rm", address)
        terraform("import", "-input=false", "-no-color", address, identifier)
    assert terraform.outputs() == applied
    assert applied["listed"] > 50

    terraform("destroy", "-auto-approve", "-input=false", "-no-color")
    assert terraform("state", "list") == ""


def _cli_config(folder: Path) -> Path:
    """Points terraform at a local mirror of providers when the machine has one."""
    mirrors = [path for pattern in MIRRORS for path in Path("/").glob(pattern.removeprefix("/"))]
    given = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if not mirrors and Path(given).is_file():
        return Path(given)
    config = folder / "cli.tfrc"
    blocks = [f'filesystem_mirror {{ path = "{path.parent}" }}' for path in mirrors] or [
        "direct {}"
    ]
    config.write_text("provider_installation {\n  " + "\n  ".join(blocks) + "\n}\n")
    return config
