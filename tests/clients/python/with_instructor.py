"""instructor over a boto3 client: a record out of a conversation."""

from typing import Any

import boto3
import instructor
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

from tests.clients.python.walk import EMBEDDED, REGION, SCRIPTED, URL, walk


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def client(mode: instructor.Mode) -> Any:
    runtime = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=URL)
    return instructor.from_bedrock(runtime, mode=mode)


def created(mode: instructor.Mode, text: str, model: str = SCRIPTED) -> Any:
    return client(mode).create(
        model=model,
        messages=[{"role": "user", "content": text}],
        response_model=City,
        max_retries=1,
        inferenceConfig={"maxTokens": 256, "temperature": 0},
    )


def embedded() -> Any:
    text = "Paris has 2 million inhabitants."
    return created(instructor.Mode.TOOLS, text, EMBEDDED).model_dump()


def by_tool() -> Any:
    return created(instructor.Mode.TOOLS, "Which city?").model_dump()


def throttled() -> Any:
    try:
        return created(instructor.Mode.TOOLS, "Answer 429.")
    except InstructorRetryException as error:
        return {"raised": type(error).__name__, "message": str(error)}


if __name__ == "__main__":
    walk(embedded, by_tool, throttled)
