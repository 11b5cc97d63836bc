import json
from base64 import b64encode
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.dialect import Prompt
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import InferenceConfiguration
from tests.runtime.requests import converse_request

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"toolSpec": {"name": "weather", "description": "Tells", "inputSchema": {"json": SCHEMA}}}
PNG = b64encode(b"png").decode()
IMAGE = {"image": {"format": "png", "source": {"bytes": PNG}}}
IMAGE_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
CALL = {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "Bern"}}}


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Any:
    return {"role": "assistant", "content": list(content)}


def body(capabilities: Capabilities | None = None, **members: Any) -> Any:
    asked = converse_request(**members)
    return json.loads(OpenAiChat().call(asked, "m", capabilities or Capabilities()).body)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"auto": {}}, "auto"),
        ({"any": {}}, "required"),
        ({"tool": {"name": "weather"}}, {"type": "function", "function": {"name": "weather"}}),
    ],
)
def test_tools_and_the_choice_among_them_find_their_place(choice: Any, sent: Any) -> None:
    strict = {"toolSpec": {"name": "s", "inputSchema": {"json": SCHEMA}, "strict": True}}
    tools = [WEATHER, {"cachePoint": {"type": "default"}}, strict]

    made = body(toolConfig={"tools": tools, "toolChoice": choice})

    assert made["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tells", "parameters": SCHEMA},
        },
        {"type": "function", "function": {"name": "s", "parameters": SCHEMA, "strict": True}},
    ]
    assert made["tool_choice"] == sent


def test_results_follow_their_calls_and_the_rest_follows_them() -> None:
    results = [
        {"toolUseId": "a", "content": [{"json": {"c": 21}}, {"text": "warm"}]},
        {"toolUseId": "b", "content": [{"text": "no"}, IMAGE], "status": "error"},
    ]

    made = body(
        toolConfig={"tools": [WEATHER]},
        messages=[
            user({"text": "?"}),
            assistant({"text": "I look."}, CALL),
            user(*({"toolResult": result} for result in results), {"text": "go on"}),
        ],
    )

    assert made["messages"][1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"c": 21}\nwarm'},
        {"role": "tool", "tool_call_id": "b", "content": "Error: no"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images in the result of b:"},
                IMAGE_PART,
                {"type": "text", "text": "go on"},
            ],
        },
    ]


def test_images_and_texts_stay_in_their_order() -> None:
    (message,) = body(messages=[user({"text": "a"}, IMAGE, {"text": "b"})])["messages"]

    assert message["content"] == [
        {"type": "text", "text": "a"},
        IMAGE_PART,
        {"type": "text", "text": "b"},
    ]


def test_guarded_and_quoted_text_is_text() -> None:
    guarded = {"guardContent": {"text": {"text": "guarded"}}}
    found = {"searchResult": {"source": "u", "title": "t", "content": [{"text": "found"}]}}

    made = body(system=[guarded], messages=[user(guarded, found)])

    assert made["messages"][0] == {"role": "system", "content": "guarded"}
    assert made["messages"][1]["content"][0]["text"] == "guarded"
    assert "found" in made["messages"][1]["content"][1]["text"]


@pytest.mark.parametrize("takes_it", [True, False])
def test_reasoning_goes_back_to_servers_that_take_it(takes_it: bool) -> None:  # noqa: FBT001 - a table
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    messages = [user({"text": "?"}), assistant(thought, {"text": "Yes"}), user({"text": "!"})]

    made = body(Capabilities(reasoning=takes_it), messages=messages)

    assert made["messages"][1].get("reasoning_content") == ("hm" if takes_it else None)
    assert made["messages"][1]["content"] == "Yes"


GOES_ON = {"continue_final_message": True, "add_generation_prompt": False}


def told_to_go_on(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in GOES_ON if name in made}


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([user({"text": "?"}), assistant({"text": "{"})], GOES_ON),
        ([user({"text": "?"}), assistant({"text": "{"}), user({"text": "!"})], {}),
        ([user({"text": "?"}), assistant({"text": "Looking"}, CALL)], {}),
        ([user({"text": "?"})], {}),
    ],
)
def test_an_answer_that_is_begun_is_gone_on_with(messages: Any, told: Any) -> None:
    assert told_to_go_on(body(messages=messages)) == told


def test_a_server_that_refuses_what_it_does_not_know_is_sent_the_beginning_alone() -> None:
    messages = [user({"text": "?"}), assistant({"text": "{"})]

    made = body(Capabilities(prefill=False), messages=messages)

    assert told_to_go_on(made) == {}
    assert made["messages"][-1] == {"role": "assistant", "content": "{"}


def test_the_caller_may_say_otherwise_of_an_answer_that_is_begun() -> None:
    messages = [user({"text": "?"}), assistant({"text": "{"})]
    anew = {"continue_final_message": False, "add_generation_prompt": True}

    made = body(messages=messages, additionalModelRequestFields=anew)

    assert told_to_go_on(made) == anew


def test_a_document_goes_as_a_file_to_a_server_that_reads_files() -> None:
    source = {"bytes": b64encode(b"%PDF").decode()}
    document = {"document": {"format": "pdf", "name": "report", "source": source}}

    (message,) = body(messages=[user({"text": "?"}, document)])["messages"]

    assert message["content"][1] == {
        "type": "file",
        "file": {
            "filename": "report.pdf",
            "file_data": "data:application/pdf;base64," + source["bytes"],
        },
    }


def test_a_document_of_text_is_text_with_its_name() -> None:
    content = [{"text": "one"}, {"text": "two"}]
    document = {"document": {"name": "report", "source": {"content": content}, "context": "old"}}

    (message,) = body(messages=[user({"text": "?"}, document)])["messages"]

    expected = '<document name="report">\nold\none\n\ntwo\n</document>'
    assert message["content"][1]["text"] == expected


def test_structured_output_is_a_strict_schema() -> None:
    definition = {"schema": json.dumps(SCHEMA), "name": "city", "description": "A city"}
    text_format = {"type": "json_schema", "structure": {"jsonSchema": definition}}

    made = body(outputConfig={"textFormat": text_format, "effort": "low"})

    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "city",
            "description": "A city",
            "schema": SCHEMA,
            "strict": True,
        },
    }
    assert made["reasoning_effort"] == "low"


def test_a_schema_that_is_no_object_is_refused() -> None:
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": "[]"}}}

    with pytest.raises(ValidationException, match=r"jsonSchema\.schema is invalid"):
        body(outputConfig={"textFormat": text_format})


def test_switches_of_other_vendors_do_not_reach_the_server_and_novas_top_k_does() -> None:
    fields = {
        "anthropic_beta": ["x"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "inferenceConfig": {"topK": 7},
        "min_p": 0.1,
    }

    made = body(additionalModelRequestFields=fields)

    assert not {"anthropic_beta", "thinking", "inferenceConfig"} & made.keys()
    assert (made["top_k"], made["min_p"]) == (7, 0.1)


def prompt() -> Prompt:
    config = InferenceConfiguration(max_tokens=7, stop_sequences=["x"])
    return Prompt(model_id="m", prompt="<s>hello", inference_config=config)


def test_a_raw_prompt_goes_to_completions() -> None:
    call = OpenAiChat().call(prompt(), "m", Capabilities())

    assert call.path == "/completions"
    assert json.loads(call.body) == {
        "model": "m",
        "prompt": "<s>hello",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 7,
        "stop": ["x"],
    }


def test_a_raw_prompt_is_one_message_where_there_are_no_completions() -> None:
    call = OpenAiChat().call(prompt(), "m", Capabilities(completions=False))

    assert call.path == "/chat/completions"
    assert json.loads(call.body)["messages"] == [{"role": "user", "content": "<s>hello"}]


@pytest.mark.parametrize("dialect", [OpenAiChat(), AnthropicMessages()])
def test_a_schema_nested_without_end_is_refused(dialect: Any) -> None:
    schema = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    structure = {"jsonSchema": {"schema": schema}}
    asked = converse_request(
        outputConfig={"textFormat": {"type": "json_schema", "structure": structure}}
    )

    with pytest.raises(ValidationException, match="schema is invalid"):
        dialect.call(asked, "m", Capabilities())
