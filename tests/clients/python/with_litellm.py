"""litellm: bedrock/converse/…, bedrock/invoke/… and embeddings."""

import json
from typing import Any

import litellm

from tests.clients.python.walk import (
    CLAUDE_PROFILE_ARN,
    EMBEDDED,
    EMBEDDED_CLAUDE,
    SCRIPTED,
    URL,
    walk,
)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CONVERSE = f"bedrock/converse/{SCRIPTED}"
INVOKE = f"bedrock/invoke/{SCRIPTED}"

litellm.num_retries = 0


def said(text: str) -> Any:
    return {"role": "user", "content": text}


def completion(model: str, text: str = "Say hello.", **more: Any) -> Any:
    return litellm.completion(
        model=model,
        messages=[said(text)],
        max_tokens=16,
        temperature=0,
        aws_bedrock_runtime_endpoint=URL,
        **more,
    )


def embedded() -> Any:
    return answered(completion(f"bedrock/converse/{EMBEDDED}"))


def embedded_stream() -> Any:
    return streamed(f"bedrock/converse/{EMBEDDED}")


def embedded_invoke() -> Any:
    return answered(completion(f"bedrock/invoke/{EMBEDDED_CLAUDE}"))


def embedded_invoke_stream() -> Any:
    return streamed(f"bedrock/invoke/{EMBEDDED_CLAUDE}")


def stream() -> Any:
    return streamed(CONVERSE)


def invoke_stream() -> Any:
    return streamed(INVOKE)


def application_profile() -> Any:
    return answered(completion(f"bedrock/converse/{CLAUDE_PROFILE_ARN}"))["text"]


def tool_loop() -> Any:
    return looped(CONVERSE)


def invoke_tool_loop() -> Any:
    return looped(INVOKE)


def streamed_tool() -> Any:
    return tool_stream(CONVERSE)


def invoke_streamed_tool() -> Any:
    return tool_stream(INVOKE)


def json_schema() -> Any:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "inhabitants": {"type": "integer"}},
        "required": ["name", "inhabitants"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    answer = completion(CONVERSE, "Which city?", response_format=form)
    return json.loads(answer.choices[0].message.content)


def throttled() -> Any:
    return completion(CONVERSE, "Answer 429.")


def invoke_throttled() -> Any:
    return completion(INVOKE, "Answer 429.")


def failed() -> Any:
    return completion(CONVERSE, "Answer 500.")


def too_long() -> Any:
    return completion(CONVERSE, "Answer too long.")


def titan_embeddings() -> Any:
    return embedded_by("amazon.titan-embed-text-v2:0")


def cohere_embeddings() -> Any:
    return embedded_by("cohere.embed-english-v3")


def answered(answer: Any) -> Any:
    choice = answer.choices[0]
    return {
        "text": choice.message.content,
        "finish_reason": choice.finish_reason,
        "usage": {
            "prompt": answer.usage.prompt_tokens,
            "completion": answer.usage.completion_tokens,
        },
    }


def broken_stream() -> Any:
    return [chunk.model for chunk in completion(CONVERSE, "Break off.", stream=True)]


def streamed(model: str) -> Any:
    chunks = list(completion(model, stream=True, stream_options={"include_usage": True}))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    return {
        "texts": [text for text in texts if text],
        "prompt": chunks[-1].usage.prompt_tokens,
        "completion": chunks[-1].usage.completion_tokens,
    }


def looped(model: str) -> Any:
    called = completion(model, "Call get_weather.", tools=[WEATHER]).choices[0]
    call = called.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    final = litellm.completion(
        model=model,
        messages=[said("Call get_weather."), called.message, result],
        tools=[WEATHER],
        max_tokens=16,
        aws_bedrock_runtime_endpoint=URL,
    )
    return {
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "finish_reason": called.finish_reason,
        "text": final.choices[0].message.content,
    }


def tool_stream(model: str) -> Any:
    chunks = completion(model, "Call get_weather.", tools=[WEATHER], stream=True)
    deltas = [chunk.choices[0].delta.tool_calls or [] for chunk in chunks]
    parts = [call.function.arguments or "" for calls in deltas for call in calls]
    return {"arguments": json.loads("".join(parts)), "parts": len(parts)}


def embedded_by(model: str) -> Any:
    answer = litellm.embedding(
        model=f"bedrock/{model}", input=["one", "two"], aws_bedrock_runtime_endpoint=URL
    )
    return [len(item["embedding"]) for item in answer.data]


if __name__ == "__main__":
    walk(
        embedded,
        embedded_stream,
        embedded_invoke,
        embedded_invoke_stream,
        stream,
        invoke_stream,
        application_profile,
        tool_loop,
        invoke_tool_loop,
        streamed_tool,
        invoke_streamed_tool,
        json_schema,
        broken_stream,
        throttled,
        invoke_throttled,
        failed,
        too_long,
        titan_embeddings,
        cohere_embeddings,
    )
