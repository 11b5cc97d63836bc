"""The generated shapes are what the generator writes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_regenerating_the_shapes_changes_nothing() -> None:
    command = [sys.executable, "tools/gen_shapes.py", "--check"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
