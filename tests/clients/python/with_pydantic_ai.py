"""pydantic-ai: an agent with a tool, structured output, a stream."""

import asyncio
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.bedrock import BedrockConverseModel
from pydantic_ai.providers.bedrock import BedrockProvider
from pydantic_ai.usage import UsageLimits

from tests.clients.python.walk import (
    CLAUDE_PROFILE_ARN,
    EMBEDDED,
    REGION,
    SCRIPTED,
    URL,
    walk,
)


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def agent(model: str = SCRIPTED, **more: Any) -> Agent[Any, Any]:
    provider = BedrockProvider(region_name=REGION, base_url=URL)
    return Agent(
        BedrockConverseModel(model, provider=provider),
        model_settings={"max_tokens": 16, "temperature": 0},
        retries=0,
        **more,
    )


def embedded() -> Any:
    return answered(agent(EMBEDDED).run_sync("Say hello."))


def embedded_stream() -> Any:
    return asyncio.run(streamed(agent(EMBEDDED)))


def stream() -> Any:
    return asyncio.run(streamed(agent()))


def application_profile() -> Any:
    settings = {"bedrock_inference_profile": CLAUDE_PROFILE_ARN}
    return agent().run_sync("Say hello.", model_settings=settings).output


def tool_loop() -> Any:
    one = agent()
    asked: list[str] = []

    @one.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return f"rain in {city}"

    return {"answer": answered(one.run_sync("Call get_weather.")), "asked": asked}


def structured() -> Any:
    return agent(output_type=City).run_sync("Which city?").output.model_dump()


def native_structured() -> Any:
    return agent(output_type=NativeOutput(City)).run_sync("Which city?").output.model_dump()


def structured_stream() -> Any:
    async def run() -> Any:
        async with agent(output_type=City).run_stream("Which city?") as answer:
            return (await answer.get_output()).model_dump()

    return asyncio.run(run())


def counted_too_long() -> Any:
    """Counts before it asks, and asks nothing when that is too much."""
    limits = UsageLimits(input_tokens_limit=5, count_tokens_before_request=True)
    return agent().run_sync("Say hello.", usage_limits=limits).output


def throttled() -> Any:
    return answered(agent().run_sync("Answer 429."))


def failed() -> Any:
    return answered(agent().run_sync("Answer 500."))


def too_long() -> Any:
    return answered(agent().run_sync("Answer too long."))


def answered(answer: Any) -> Any:
    usage = answer.usage
    return {"text": answer.output, "input": usage.input_tokens, "output": usage.output_tokens}


async def streamed(one: Agent[Any, Any]) -> Any:
    async with one.run_stream("Say hello.") as answer:
        return [text async for text in answer.stream_text(delta=True, debounce_by=None)]


if __name__ == "__main__":
    walk(
        embedded,
        embedded_stream,
        stream,
        application_profile,
        tool_loop,
        structured,
        native_structured,
        structured_stream,
        counted_too_long,
        throttled,
        failed,
        too_long,
    )
