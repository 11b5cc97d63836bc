"""One server for every client: some models are scripted, embedded ones stand in for the others."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.boto3_client import client_of
from tests.clients.environments import outside, python_environment, seen
from tests.clients.scripted_server import ScriptedServer, scripted_server
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process

# One environment for all: pip finds versions that agree, and installs what they share once.
PYTHON_CLIENTS = (
    "anthropic[bedrock]==2.12.0",
    "boto3==1.44.5",
    "instructor==1.17.0",
    "langchain-aws==1.9.1",
    "litellm==1.106.0",
    "llama-index-embeddings-bedrock==0.9.0",
    "llama-index-llms-bedrock-converse==0.15.5",
    "pydantic-ai-slim[bedrock]==2.68.0",
    "strands-agents==1.62.0",
)
CONFIG = """
[embedded]
stand_in = true

[[model_servers]]
name = "scripted"
url = "{url}"

[model_servers.models]
"anthropic.claude-sonnet-4-5-20250929-v1:0" = "scripted-large"
"anthropic.claude-haiku-4-5-20251001-v1:0" = "scripted-small"
"cohere.embed-english-v3" = "scripted-embed"
"""


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(scope="session")
def outcrop(
    scripted: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OutcropProcess]:
    config = CONFIG.format(url=scripted.url)
    with outcrop_process(tmp_path_factory.mktemp("outcrop"), config=config) as process:
        yield process


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", params=[(), ("--tls",)], ids=["http", "https"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OutcropProcess]:
    """Of a module's own, with nothing configured: in the clear, and over TLS."""
    folder: Path = tmp_path_factory.mktemp("outcrop")
    with outcrop_process(folder, arguments=request.param) as process:
        yield process


@pytest.fixture(scope="session")
def variables(outcrop: OutcropProcess, home: Path) -> dict[str, str]:
    """What `outcrop env` exports, and a home of its own. A refusal comes back at once."""
    settings = {"AWS_MAX_ATTEMPTS": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return outside(outcrop.environment() | settings, home)


@pytest.fixture(scope="session")
def profile_arn(outcrop: OutcropProcess) -> str:
    """An application profile of a model that the embedded one stands in for."""
    return application_profile(outcrop, "nova", "us.amazon.nova-lite-v1:0")


@pytest.fixture(scope="session")
def claude_profile_arn(outcrop: OutcropProcess) -> str:
    """An application profile of the scripted model."""
    return application_profile(outcrop, "claude", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")


class Walks:
    """Runs tests/clients/python/<name>.py in the clients' environment; gives what it saw."""

    def __init__(self, python: Path, variables: Mapping[str, str]) -> None:
        self._python = python
        self._variables = variables

    def __call__(self, name: str) -> Any:
        module = f"tests.clients.python.{name}"
        return seen([self._python, "-m", module], self._variables, REPOSITORY)


@pytest.fixture(scope="session")
def walks(variables: Mapping[str, str], profile_arn: str, claude_profile_arn: str) -> Walks:
    python = python_environment("python", *PYTHON_CLIENTS) / "python"
    arns = {"NOVA_PROFILE_ARN": profile_arn, "CLAUDE_PROFILE_ARN": claude_profile_arn}
    return Walks(python, {**variables, **arns})


def application_profile(outcrop: OutcropProcess, name: str, copied: str) -> str:
    with closing(client_of(outcrop, "bedrock")) as bedrock:
        source = bedrock.get_inference_profile(inferenceProfileIdentifier=copied)
        created = bedrock.create_inference_profile(
            inferenceProfileName=name, modelSource={"copyFrom": source["inferenceProfileArn"]}
        )
    arn: str = created["inferenceProfileArn"]
    return arn
