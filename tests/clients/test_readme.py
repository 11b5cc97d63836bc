"""What README promises, done as it says, with the wheel in an environment of its own."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.environments import environment_of_wheel, outside
from tests.outcrop_process import REPOSITORY

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

README = (REPOSITORY / "README.md").read_text()
CACHE_HOME = Path.home() / ".cache"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `outcrop`, as the wheel of this working tree has it, `aws` and `python`."""
    folder = tmp_path_factory.mktemp("wheel")
    pip_wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    subprocess.run([*pip_wheel, "--wheel-dir", folder, REPOSITORY], check=True)
    (wheel,) = folder.glob("*.whl")
    return environment_of_wheel("readme", wheel, "awscli==1.46.3", "boto3==1.44.5")


@pytest.fixture
def variables(programs: Path, tmp_path: Path) -> Mapping[str, str]:
    """Of a user who has never seen Outcrop, but whose cache has the weights."""
    variables = outside({"XDG_CACHE_HOME": str(CACHE_HOME)}, tmp_path)
    return variables | {"PATH": f"{programs}:{variables['PATH']}"}


def block(language: str) -> str:
    """The first one."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def done(commands: str, variables: Mapping[str, str], folder: Path) -> str:
    """What a shell prints that stops at the first failure, and stops the server at its end."""
    script = f"trap 'kill $!; wait $!' EXIT\n{commands}"
    shell = subprocess.run(
        ["sh", "-euc", script],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert shell.returncode == 0, shell.stdout
    return shell.stdout


def test_two_minutes_to_a_first_answer_and_what_follows_it(
    variables: Mapping[str, str], tmp_path: Path
) -> None:
    install, _, first = block("sh").partition("\n")
    elsewhere = f"outcrop serve --listen 127.0.0.1:{free_port()} &"
    reads = [line for line in README.splitlines() if line.startswith(READS)]
    commands = [first.replace("outcrop serve &", elsewhere), PYTHON, *reads]

    printed = done("\n".join(commands), variables, tmp_path)

    assert install.startswith("pip install .")
    assert '"inferenceProfileSummaries"' in printed
    assert '"stopReason"' in printed
    assert "'inputTokens'" in printed
    assert "asked first: " in printed
    assert "tag:team" in printed


READS = ("outcrop explain", "outcrop models", "outcrop usage")
PYTHON = f"python - <<'EOF'\n{block('python')}EOF\n"


def test_the_wheel_has_all_that_it_needs_and_nothing_of_the_tests(programs: Path) -> None:
    listed = subprocess.run(
        [programs / "python", "-m", "pip", "show", "--files", "outcrop"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = re.findall(r"^  (\S+)$", listed, re.MULTILINE)

    assert "outcrop/counters/counters.lua" in files
    assert "outcrop/data/foundation-models.json" in files
    assert {name.split("/")[0] for name in files if not name.startswith(("..", "outcrop-"))} == {
        "outcrop"
    }
    assert shutil.which("outcrop", path=str(programs))
