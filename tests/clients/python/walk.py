"""Runs the scenes of one client, in the client's environment, and prints what each saw."""

import json
import os
from collections.abc import Callable
from typing import Any

REGION = os.environ["AWS_REGION"]
URL = os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
SCRIPTED = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
EMBEDDED = "amazon.nova-lite-v1:0"
EMBEDDED_CLAUDE = "us.anthropic.claude-opus-4-5-20251101-v1:0"
PROFILE_ARN = os.environ["NOVA_PROFILE_ARN"]
CLAUDE_PROFILE_ARN = os.environ["CLAUDE_PROFILE_ARN"]


def walk(*scenes: Callable[[], Any]) -> None:
    print(json.dumps({scene.__name__: _seen(scene) for scene in scenes}))  # noqa: T201 - its purpose


def _seen(scene: Callable[[], Any]) -> Any:
    """What the scene returned, or what was raised: the test says which it is to be."""
    try:
        return scene()
    except Exception as error:  # noqa: BLE001 - every client has its own
        return {"raised": type(error).__name__, "message": str(error)}
