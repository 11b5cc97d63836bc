"""langchain-aws: ChatBedrockConverse, ChatBedrock and BedrockEmbeddings."""

from typing import Any

from langchain_aws import BedrockEmbeddings, ChatBedrock, ChatBedrockConverse
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from tests.clients.python.walk import (
    EMBEDDED,
    EMBEDDED_CLAUDE,
    PROFILE_ARN,
    REGION,
    SCRIPTED,
    URL,
    walk,
)


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@tool
def get_time(city: str) -> str:
    """The time in a city."""
    return f"noon in {city}"


def chat(model: str = SCRIPTED, **more: Any) -> ChatBedrockConverse:
    return ChatBedrockConverse(
        model=model, endpoint_url=URL, region_name=REGION, max_tokens=16, temperature=0, **more
    )


def native(model: str = SCRIPTED, **more: Any) -> ChatBedrock:
    return ChatBedrock(
        model=model, endpoint_url=URL, region=REGION, max_tokens=16, temperature=0, **more
    )


def embedded() -> Any:
    return answered(chat(EMBEDDED).invoke("Say hello."))


def embedded_stream() -> Any:
    return streamed(chat(EMBEDDED))


def embedded_native() -> Any:
    return answered(native(EMBEDDED_CLAUDE).invoke("Say hello."))


def embedded_native_stream() -> Any:
    return streamed(native(EMBEDDED_CLAUDE))


def stream() -> Any:
    return streamed(chat())


def application_profile() -> Any:
    """langchain-aws looks the profile's model up before it asks."""
    return answered(chat(PROFILE_ARN, provider="amazon").invoke("Say hello."))


def tool_loop() -> Any:
    return looped(chat())


def native_tool_loop() -> Any:
    return looped(native())


def parallel_tools() -> Any:
    model = chat().bind_tools([get_weather, get_time])
    return [call["name"] for call in model.invoke("Call get_weather and get_time.").tool_calls]


def streamed_tool() -> Any:
    model = chat().bind_tools([get_weather])
    chunks = list(model.stream("Call get_weather."))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    fragments = sum(len(chunk.tool_call_chunks) for chunk in chunks)
    return {"call": whole.tool_calls[0], "fragments": fragments}


def structured() -> Any:
    return chat().with_structured_output(City).invoke("Which city?").model_dump()


def json_schema() -> Any:
    model = chat().with_structured_output(City, method="json_schema")
    return model.invoke("Which city?").model_dump()


def throttled() -> Any:
    return chat().invoke("Answer 429.")


def failed() -> Any:
    return chat().invoke("Answer 500.")


def too_long() -> Any:
    return chat().invoke("Answer too long.")


def broken_stream() -> Any:
    return [chunk.text for chunk in chat().stream("Break off.")]


def native_stream() -> Any:
    return streamed(native())


def embeddings() -> Any:
    model = BedrockEmbeddings(
        model_id="amazon.titan-embed-text-v2:0", endpoint_url=URL, region_name=REGION
    )
    return [len(vector) for vector in model.embed_documents(["one", "two"])]


def answered(message: Any) -> Any:
    return {"text": message.text, "usage": message.usage_metadata}


def streamed(model: Any) -> Any:
    chunks = list(model.stream("Say hello."))
    texts = [chunk.text for chunk in chunks if chunk.text]
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    return {"texts": texts, "usage": usage[-1]}


def looped(model: Any) -> Any:
    asked = HumanMessage("Call get_weather.")
    bound = model.bind_tools([get_weather])
    called = bound.invoke([asked])
    call = called.tool_calls[0]
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    final = bound.invoke([asked, called, result])
    return {"call": call, "stop": called.response_metadata, "text": final.text}


if __name__ == "__main__":
    walk(
        embedded,
        embedded_stream,
        embedded_native,
        embedded_native_stream,
        stream,
        application_profile,
        tool_loop,
        native_tool_loop,
        parallel_tools,
        streamed_tool,
        structured,
        json_schema,
        throttled,
        failed,
        too_long,
        broken_stream,
        native_stream,
        embeddings,
    )
