"""pydantic-ai: an agent with a tool, structured output, a stream."""

import asyncio
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.bedrock import BedrockEmbeddingModel
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


def streamed_tool() -> Any:
    one = agent()

    @one.tool_plain
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    async def run() -> Any:
        async with one.run_stream("Call get_weather.") as answer:
            return [text async for text in answer.stream_text(delta=True, debounce_by=None)]

    return asyncio.run(run())


def embeddings() -> Any:
    provider = BedrockProvider(region_name=REGION, base_url=URL)
    models = ("amazon.titan-embed-text-v2:0", "cohere.embed-english-v3")
    embedders = [Embedder(BedrockEmbeddingModel(name, provider=provider)) for name in models]
    answers = [embedder.embed_documents_sync(["one", "two"]) for embedder in embedders]
    return [[len(vector) for vector in answer.embeddings] for answer in answers]


def broken_stream() -> Any:
    return asyncio.run(streamed(agent(), "Break off."))


def throttled() -> Any:
    return answered(agent().run_sync("Answer 429."))


def failed() -> Any:
    return answered(agent().run_sync("Answer 500."))


def too_long() -> Any:
    return answered(agent().run_sync("Answer too long."))


def answered(answer: Any) -> Any:
    usage = answer.usage
    return {"text": answer.output, "input": usage.input_tokens, "output": usage.output_tokens}


async def streamed(one: Agent[Any, Any], said: str = "Say hello.") -> Any:
    async with one.run_stream(said) as answer:
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
        streamed_tool,
        embeddings,
        broken_stream,
        throttled,
        failed,
        too_long,
    )
