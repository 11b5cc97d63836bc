"""anthropic[bedrock]: AnthropicBedrock against native bodies."""

from typing import Any

from anthropic import AnthropicBedrock, BadRequestError

from tests.clients.python.walk import (
    CLAUDE_PROFILE_ARN,
    EMBEDDED_CLAUDE,
    REGION,
    SCRIPTED,
    URL,
    walk,
)

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}

client = AnthropicBedrock(base_url=URL, aws_region=REGION, max_retries=0)


def said(text: str) -> Any:
    return {"role": "user", "content": text}


def create(text: str, model: str = SCRIPTED, **more: Any) -> Any:
    return client.messages.create(model=model, max_tokens=16, messages=[said(text)], **more)


def embedded() -> Any:
    return create("Say hello.", EMBEDDED_CLAUDE).model_dump()


def embedded_stream() -> Any:
    return streamed(EMBEDDED_CLAUDE)


def stream() -> Any:
    return streamed(SCRIPTED)


def raw_stream_events() -> Any:
    return [event.type for event in create("Say hello.", stream=True)]


def application_profile() -> Any:
    return create("Say hello.", CLAUDE_PROFILE_ARN).content[0].text


def tool_loop() -> Any:
    called = create("Call get_weather.", tools=[WEATHER])
    use = called.content[0]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "rain"}
    messages: Any = [
        said("Call get_weather."),
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    final = client.messages.create(
        model=SCRIPTED, max_tokens=16, messages=messages, tools=[WEATHER]
    )
    return {
        "called": called.model_dump(),
        "text": final.content[0].text,
        "stop_reason": final.stop_reason,
    }


def streamed_tool() -> Any:
    with client.messages.stream(
        model=SCRIPTED, max_tokens=16, messages=[said("Call get_weather.")], tools=[WEATHER]
    ) as events:
        parts = [event.partial_json for event in events if event.type == "input_json"]
        final = events.get_final_message()
    return {"parts": parts, "input": final.content[0].input, "stop_reason": final.stop_reason}


def forced_tool() -> Any:
    choice = {"type": "tool", "name": "get_weather"}
    return create("Which city?", tools=[WEATHER], tool_choice=choice).content[0].input


def throttled() -> Any:
    return create("Answer 429.")


def failed() -> Any:
    return create("Answer 500.")


def too_long() -> Any:
    return create("Answer too long.")


def malformed() -> Any:
    try:
        create("Say hello.", extra_body={"max_tokens": "many"})
    except BadRequestError as error:
        return {"status": error.status_code, "body": error.body}


def broken_stream() -> Any:
    return streamed(SCRIPTED, "Break off.")


def streamed(model: str, text: str = "Say hello.") -> Any:
    with client.messages.stream(model=model, max_tokens=16, messages=[said(text)]) as events:
        texts = list(events.text_stream)
        final = events.get_final_message()
    return {"texts": texts, "final": final.model_dump()}


if __name__ == "__main__":
    walk(
        embedded,
        embedded_stream,
        stream,
        raw_stream_events,
        application_profile,
        tool_loop,
        streamed_tool,
        forced_tool,
        throttled,
        failed,
        too_long,
        malformed,
        broken_stream,
    )
