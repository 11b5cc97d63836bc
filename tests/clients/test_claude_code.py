"""The unmodified Claude Code, headless, in a home of its own."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import node_environment
from tests.clients.scripted_server import GREETING

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "claude_code"
SCRIPTED = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
EMBEDDED_CLAUDE = "us.anthropic.claude-opus-4-5-20251101-v1:0"
ENDS_WITHIN_S = 120

Claude = Callable[..., Sequence[Any]]


@pytest.fixture(scope="module")
def claude(variables: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Claude:
    """Runs `claude -p`; gives its messages, oldest first."""
    program = node_environment("claude-code", HERE) / "node_modules" / ".bin" / "claude"
    work = tmp_path_factory.mktemp("work")
    (work / "note.txt").write_text("The word is Matterhorn.\n")
    url = variables["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
    settings = {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": url,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }

    def run(prompt: str, *arguments: str, model: str = SCRIPTED, **more: str) -> Sequence[Any]:
        done = subprocess.run(
            [program, "-p", prompt, "--output-format", "stream-json", "--verbose", *arguments],
            cwd=work,
            env={**variables, **settings, "ANTHROPIC_MODEL": model, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDS_WITHIN_S,
        )
        assert done.stdout, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def test_it_answers_with_everything_it_sends_by_default(claude: Claude) -> None:
    result = claude("Say hello.")[-1]

    assert result["result"] == GREETING
    assert not result["is_error"]
    assert result["usage"]["output_tokens"] > 0


def test_it_reads_a_file_with_its_own_tool_and_goes_on(claude: Claude) -> None:
    messages = claude('Call Bash {"command": "cat note.txt"}.', "--allowedTools", "Bash")

    assert "Matterhorn" in messages[-1]["result"]
    assert messages[-1]["num_turns"] == 2
    assert not messages[-1]["is_error"]


def test_it_works_through_an_application_profile(claude: Claude, claude_profile_arn: str) -> None:
    result = claude("Say hello.", model=claude_profile_arn)[-1]

    assert result["result"] == GREETING
    assert not result["is_error"]


def test_it_tells_why_it_was_refused(claude: Claude) -> None:
    result = claude("Answer 429.")[-1]

    assert result["is_error"]
    assert result["api_error_status"] == 429


def test_the_embedded_model_answers_it(claude: Claude) -> None:
    result = claude(
        "Say hello.",
        "--bare",
        "--tools",
        "",
        model=EMBEDDED_CLAUDE,
        CLAUDE_CODE_MAX_OUTPUT_TOKENS="64",
        MAX_THINKING_TOKENS="0",
    )[-1]

    assert result["result"]
    assert result["usage"]["input_tokens"] > 0
    assert result["usage"]["output_tokens"] > 0
