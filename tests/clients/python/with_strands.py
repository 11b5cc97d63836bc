"""strands-agents: an agent that streams, and one that calls a tool."""

from typing import Any

from pydantic import BaseModel
from strands import Agent, tool
from strands.models import BedrockModel

from tests.clients.python.walk import EMBEDDED, PROFILE_ARN, REGION, SCRIPTED, URL, walk

HELLO = "Say hello in three words."


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    return f"rain in {city}"


def agent(model_id: str = SCRIPTED, *, streaming: bool = True, **more: Any) -> Agent:
    model = BedrockModel(
        model_id=model_id,
        endpoint_url=URL,
        region_name=REGION,
        max_tokens=60,
        temperature=0,
        streaming=streaming,
    )
    return Agent(model=model, callback_handler=None, **more)


def embedded() -> Any:
    return answered(agent(EMBEDDED)(HELLO))


def embedded_at_once() -> Any:
    return answered(agent(EMBEDDED, streaming=False)(HELLO))


def application_profile() -> Any:
    return answered(agent(PROFILE_ARN)(HELLO))


def stream() -> Any:
    texts: list[str] = []

    def keep(**event: Any) -> None:
        if "data" in event:
            texts.append(event["data"])

    one = agent()
    one.callback_handler = keep
    return {"texts": texts, "answer": answered(one(HELLO))}


def broken_stream() -> Any:
    return answered(agent()("Break off."))


def tool_loop() -> Any:
    return looped(streaming=True)


def tool_loop_at_once() -> Any:
    return looped(streaming=False)


def structured() -> Any:
    answer = agent()("Which city?", structured_output_model=City)
    return answer.structured_output.model_dump()


def throttled() -> Any:
    return answered(agent(retry_strategy=None)("Answer 429."))


def failed() -> Any:
    return answered(agent()("Answer 500."))


def too_long() -> Any:
    return answered(agent(conversation_manager=None)("Answer too long."))


def looped(*, streaming: bool) -> Any:
    one = agent(streaming=streaming, tools=[get_weather])
    answer = one("Call get_weather.")
    return {
        "answer": answered(answer),
        "calls": answer.metrics.tool_metrics["get_weather"].call_count,
        "messages": one.messages,
    }


def answered(answer: Any) -> Any:
    return {
        "text": str(answer).strip(),
        "stop_reason": answer.stop_reason,
        "usage": answer.metrics.accumulated_usage,
    }


if __name__ == "__main__":
    walk(
        embedded,
        embedded_at_once,
        application_profile,
        stream,
        tool_loop,
        tool_loop_at_once,
        structured,
        broken_stream,
        throttled,
        failed,
        too_long,
    )
