"""llama-index-llms-bedrock-converse: chat, stream and tools."""

from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.bedrock import BedrockEmbedding
from llama_index.llms.bedrock_converse import BedrockConverse
from pydantic import BaseModel

from tests.clients.python.walk import EMBEDDED, PROFILE_ARN, REGION, SCRIPTED, URL, walk

HELLO = [ChatMessage(role="user", content="Say hello.")]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


TOOL = FunctionTool.from_defaults(get_weather)


def model(name: str = SCRIPTED, **more: Any) -> BedrockConverse:
    return BedrockConverse(
        model=name,
        endpoint_url=URL,
        region_name=REGION,
        max_tokens=16,
        temperature=0,
        max_retries=1,
        **more,
    )


def embedded() -> Any:
    answer = model(EMBEDDED).chat(HELLO)
    return {"text": answer.message.content, "raw": answer.raw["usage"]}


def embedded_stream() -> Any:
    return [answer.delta for answer in model(EMBEDDED).stream_chat(HELLO)]


def stream() -> Any:
    return [answer.delta for answer in model().stream_chat(HELLO)]


def application_profile() -> Any:
    answer = model(EMBEDDED, application_inference_profile_arn=PROFILE_ARN).chat(HELLO)
    return answer.message.content


def tool_call() -> Any:
    llm = model()
    answer = llm.chat_with_tools([TOOL], user_msg="Call get_weather.")
    calls = llm.get_tool_calls_from_response(answer)
    return [{"name": call.tool_name, "arguments": call.tool_kwargs} for call in calls]


def tool_loop() -> Any:
    return str(model().predict_and_call([TOOL], user_msg="Call get_weather."))


def streamed_tool() -> Any:
    llm = model()
    answers = list(llm.stream_chat_with_tools([TOOL], user_msg="Call get_weather."))
    calls = llm.get_tool_calls_from_response(answers[-1])
    return [{"name": call.tool_name, "arguments": call.tool_kwargs} for call in calls]


def structured() -> Any:
    return model().as_structured_llm(City).complete("Which city?").raw.model_dump()


def embeddings() -> Any:
    """It has no `endpoint_url`: the environment leads it here."""
    models = ("amazon.titan-embed-text-v2:0", "cohere.embed-english-v3")
    embedders = [BedrockEmbedding(model_name=name, region_name=REGION) for name in models]
    return [
        [len(vector) for vector in embedder.get_text_embedding_batch(["one", "two"])]
        for embedder in embedders
    ]


def broken_stream() -> Any:
    broken = [ChatMessage(role="user", content="Break off.")]
    return [answer.delta for answer in model().stream_chat(broken)]


def throttled() -> Any:
    return str(model().complete("Answer 429."))


def failed() -> Any:
    return str(model().complete("Answer 500."))


def too_long() -> Any:
    return str(model().complete("Answer too long."))


if __name__ == "__main__":
    walk(
        embedded,
        embedded_stream,
        stream,
        application_profile,
        tool_call,
        tool_loop,
        streamed_tool,
        structured,
        embeddings,
        broken_stream,
        throttled,
        failed,
        too_long,
    )
