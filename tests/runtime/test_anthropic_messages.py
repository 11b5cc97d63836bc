import json
from base64 import b64encode
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.dialect import Asked, Call, Complaint, Prompt
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import InferenceConfiguration, MessageStopEvent
from tests.fakes import anthropic_streams as recorded
from tests.runtime.requests import converse_request, stream_request

ANTHROPIC = Capabilities(documents=True, completions=False)
PNG = b64encode(b"\x89PNG\x00\xff").decode()
CACHED = {"type": "ephemeral"}
CACHE_POINT = {"cachePoint": {"type": "default"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}


def call(asked: Asked, capabilities: Capabilities = ANTHROPIC) -> Call:
    return AnthropicMessages().call(asked, "claude", capabilities)


def body_of(capabilities: Capabilities = ANTHROPIC, **members: Any) -> Any:
    return json.loads(call(converse_request(**members), capabilities).body)


def content_of(*blocks: Any, role: str = "user", **more: Any) -> Any:
    body = body_of(messages=[{"role": role, "content": [*blocks]}], **more)
    return body["messages"][0]["content"]


def refusal_of(**members: Any) -> str:
    with pytest.raises(ValidationException) as refused:
        body_of(**members)
    return refused.value.message


def test_the_smallest_request_asks_for_a_stream_and_for_some_tokens() -> None:
    asked = call(stream_request())

    assert asked.path == "/messages"
    assert asked.headers == {}
    assert json.loads(asked.body) == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stream": True,
    }


def test_system_and_inference_find_their_places() -> None:
    body = body_of(
        system=[{"text": "Be brief."}, {"guardContent": {"text": {"text": "Be kind."}}}],
        inferenceConfig={
            "maxTokens": 7,
            "temperature": 0.0,
            "topP": 0.5,
            "stopSequences": ["END", "終"],
        },
    )

    assert body["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Be kind."},
    ]
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.0, 0.5)
    assert body["stop_sequences"] == ["END", "終"]


def test_images_go_as_base64() -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    guarded = {"guardContent": {"image": {"format": "jpeg", "source": {"bytes": PNG}}}}

    assert content_of(image, guarded) == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
    ]


@pytest.mark.parametrize(
    ("document", "source"),
    [
        (
            {"format": "pdf", "source": {"bytes": PNG}},
            {"type": "base64", "media_type": "application/pdf", "data": PNG},
        ),
        (
            {"format": "md", "source": {"bytes": b64encode("# Köln".encode()).decode()}},
            {"type": "text", "media_type": "text/plain", "data": "# Köln"},
        ),
        (
            {"source": {"text": "plain"}},
            {"type": "text", "media_type": "text/plain", "data": "plain"},
        ),
        (
            {"source": {"content": [{"text": "one"}, {"text": "two"}]}},
            {
                "type": "content",
                "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
            },
        ),
    ],
)
def test_documents_go_as_documents(document: dict[str, Any], source: dict[str, Any]) -> None:
    given = {
        "document": {
            "name": "Stones",
            "context": "A book.",
            "citations": {"enabled": True},
            **document,
        }
    }

    assert content_of(given) == [
        {
            "type": "document",
            "source": source,
            "title": "Stones",
            "context": "A book.",
            "citations": {"enabled": True},
        }
    ]


def test_a_server_that_reads_no_documents_gets_their_text() -> None:
    document = {"document": {"name": "Stones", "source": {"text": "Slate."}}}
    found = {"searchResult": {"source": "s", "title": "t", "content": [{"text": "c"}]}}
    cited = {"citationsContent": {"content": [{"text": "A rock."}]}}
    messages = [{"role": "user", "content": [document, found, cited]}]

    body = body_of(Capabilities(documents=False), messages=messages)

    assert body["messages"][0]["content"] == [
        {"type": "text", "text": '<document name="Stones">\nSlate.\n</document>'},
        {"type": "text", "text": "<search_result>\nt\ns\nc\n</search_result>"},
        {"type": "text", "text": "A rock."},
    ]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://abc/x"}}}}, "s3Loc"),
        (
            {
                "document": {
                    "name": "a",
                    "format": "pdf",
                    "source": {"s3Location": {"uri": "s3://abc/x"}},
                }
            },
            "s3Location",
        ),
        ({"document": {"name": "a", "format": "docx", "source": {"bytes": PNG}}}, "format docx"),
        ({"video": {"format": "mp4", "source": {"bytes": PNG}}}, "the video field for user mess"),
        (
            {
                "toolResult": {
                    "toolUseId": "t",
                    "content": [{"video": {"format": "mp4", "source": {"bytes": PNG}}}],
                }
            },
            "the video field for tool results",
        ),
        ({"audio": {"format": "mp3", "source": {"bytes": PNG}}}, "the audio field for user mess"),
    ],
)
def test_what_anthropic_cannot_read_is_refused(block: dict[str, Any], words: str) -> None:
    assert words in refusal_of(messages=[{"role": "user", "content": [block]}])


def test_a_conversation_with_reasoning_and_parallel_tools_goes_back_as_it_came() -> None:
    messages = [
        {"role": "user", "content": [{"text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Two. 🤔", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": b64encode(b"EmwK/AhgB").decode()}},
                {"reasoningContent": {"redactedContent": b64encode(b"\xff\x00").decode()}},
                {"text": "I'll look."},
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Köln"}}},
                {"toolUse": {"toolUseId": "t2", "name": "now", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"degrees": 7}}]}},
                {
                    "toolResult": {
                        "toolUseId": "t2",
                        "status": "error",
                        "content": [
                            {"text": "broken"},
                            {"image": {"format": "gif", "source": {"bytes": PNG}}},
                        ],
                    }
                },
                {"toolResult": {"toolUseId": "t3", "content": []}},
            ],
        },
    ]

    body = body_of(messages=messages, toolConfig={"tools": [WEATHER]})

    gif = {"type": "base64", "media_type": "image/gif", "data": PNG}
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Two. 🤔", "signature": "sig"},
        {"type": "redacted_thinking", "data": "EmwK/AhgB"},
        {"type": "redacted_thinking", "data": b64encode(b"\xff\x00").decode()},
        {"type": "text", "text": "I'll look."},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": '{"degrees": 7}'}],
        },
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "content": [{"type": "text", "text": "broken"}, {"type": "image", "source": gif}],
            "is_error": True,
        },
        {"type": "tool_result", "tool_use_id": "t3"},
    ]


def test_a_server_that_takes_no_reasoning_back_gets_none() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    messages = [{"role": "assistant", "content": [thought, {"text": "yes"}]}]

    body = body_of(Capabilities(reasoning=False), messages=messages)

    assert body["messages"][0]["content"] == [{"type": "text", "text": "yes"}]


def test_what_anthropics_own_tools_did_goes_back_as_it_came() -> None:
    found = [{"type": "web_search_result", "url": "https://example.com"}]
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    result = {"toolUseId": "s1", "type": "web_search_tool_result"}

    content = content_of(
        {
            "toolUse": {
                "toolUseId": "s1",
                "name": "web_search",
                "type": "server_tool_use",
                "input": {"query": "slate"},
            }
        },
        {"toolResult": {**result, "content": [{"json": one} for one in found]}},
        {"toolResult": {**result, "status": "error", "content": [{"json": failed}]}},
        role="assistant",
    )

    assert content == [
        {
            "type": "server_tool_use",
            "id": "s1",
            "name": "web_search",
            "input": {"query": "slate"},
        },
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": found},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": failed},
    ]


@pytest.mark.parametrize(
    ("location", "written"),
    [
        (
            {"documentChar": {"documentIndex": 1, "start": 2, "end": 3}},
            {
                "type": "char_location",
                "document_index": 1,
                "start_char_index": 2,
                "end_char_index": 3,
                "document_title": "Stones",
            },
        ),
        (
            {"searchResultLocation": {"searchResultIndex": 1, "start": 2, "end": 3}},
            {
                "type": "search_result_location",
                "search_result_index": 1,
                "start_block_index": 2,
                "end_block_index": 3,
                "title": "Stones",
                "source": "s",
            },
        ),
    ],
)
def test_citations_of_earlier_turns_go_back(
    location: dict[str, Any], written: dict[str, Any]
) -> None:
    citation = {
        "title": "Stones",
        "source": "s",
        "sourceContent": [{"text": "Slate "}, {"text": "is rock."}],
        "location": location,
    }
    elsewhere = {"title": "Web", "location": {"web": {"url": "https://example.com"}}}
    cited = {
        "content": [{"text": "A "}, {"text": "rock."}],
        "citations": [citation, elsewhere, {"title": "nowhere"}],
    }

    assert content_of({"citationsContent": cited}, role="assistant") == [
        {
            "type": "text",
            "text": "A rock.",
            "citations": [{**written, "cited_text": "Slate is rock."}],
        }
    ]


def test_search_results_go_as_search_results() -> None:
    result = {
        "source": "https://example.com",
        "title": "Slate",
        "content": [{"text": "A rock."}],
        "citations": {"enabled": True},
    }

    assert content_of({"searchResult": result}) == [
        {
            "type": "search_result",
            "source": "https://example.com",
            "title": "Slate",
            "content": [{"type": "text", "text": "A rock."}],
            "citations": {"enabled": True},
        }
    ]


def test_cache_points_mark_what_stands_before_them() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    an_hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body = body_of(
        system=[CACHE_POINT, {"text": "one"}, {"text": "two"}, an_hour],
        messages=[
            {"role": "user", "content": [{"text": "a"}, CACHE_POINT, {"text": "b"}]},
            {"role": "assistant", "content": [{"text": "c"}, thought, CACHE_POINT]},
        ],
        toolConfig={"tools": [WEATHER, CACHE_POINT]},
    )

    assert body["system"] == [
        {"type": "text", "text": "one"},
        {"type": "text", "text": "two", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "a", "cache_control": CACHED},
        {"type": "text", "text": "b"},
    ]
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "c", "cache_control": CACHED},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
    ]
    assert body["tools"] == [{"name": "weather", "input_schema": SCHEMA, "cache_control": CACHED}]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"auto": {}}, {"type": "auto"}),
        ({"any": {}}, {"type": "any"}),
        ({"tool": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_every_tool_choice_has_its_form(choice: dict[str, Any], written: dict[str, Any]) -> None:
    described = {"toolSpec": {**WEATHER["toolSpec"], "description": "Of a city.", "strict": True}}

    body = body_of(toolConfig={"tools": [described], "toolChoice": choice})

    assert body["tool_choice"] == written
    assert body["tools"] == [
        {
            "name": "weather",
            "input_schema": SCHEMA,
            "description": "Of a city.",
            "strict": True,
        }
    ]


def test_guardrails_and_system_messages_are_refused() -> None:
    guardrail = {"guardrailIdentifier": "abc", "guardrailVersion": "1"}
    messages = [{"role": "system", "content": [{"text": "x"}]}]

    assert "guardrail identifier" in refusal_of(guardrailConfig=guardrail)
    assert "the system field for messages" in refusal_of(messages=messages)


def test_amazons_own_tools_are_refused() -> None:
    config = {"tools": [{"systemTool": {"name": "nova_grounding"}}]}

    assert "systemTool" in refusal_of(toolConfig=config)


def test_a_raw_prompt_is_what_the_user_says() -> None:
    prompt = Prompt(
        model_id="m",
        prompt="[INST] hi [/INST]",
        inference_config=InferenceConfiguration(max_tokens=9),
    )

    body = json.loads(call(prompt).body)

    assert body["max_tokens"] == 9
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "[INST] hi [/INST]"}]}
    ]


def test_counting_tokens_asks_about_the_same_question() -> None:
    request = converse_request(
        system=[{"text": "Be brief."}],
        inferenceConfig={"maxTokens": 7, "temperature": 0.5},
        toolConfig={"tools": [WEATHER]},
        additionalModelRequestFields={"top_k": 5, "anthropic_beta": "b"},
    )

    asked = AnthropicMessages().count_tokens(request, "claude", ANTHROPIC)

    assert asked.path == "/messages/count_tokens"
    assert asked.headers == {"anthropic-beta": "b"}
    assert json.loads(asked.body) == {
        "model": "claude",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
    }


def test_complaints_are_anthropics() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'

    assert AnthropicMessages().complaint(529, body) == Complaint(529, "Overloaded")


def test_the_reader_of_a_conversation_knows_which_fields_to_give_back() -> None:
    asked = converse_request(additionalModelResponseFieldPaths=["/type"])

    assert given_back(asked) == b'{"type":"message"}'
    assert given_back(Prompt(model_id="m", prompt="p")) == b""


def given_back(asked: Asked) -> bytes:
    reader = AnthropicMessages().reader(asked)
    events = [*reader.feed(recorded.HELLO), *reader.end()]
    (stop,) = (event for event in events if isinstance(event, MessageStopEvent))
    return bytes(stop.additional_model_response_fields)


def test_what_was_found_alone_goes_back_alone() -> None:
    found = {"type": "web_fetch_result", "url": "https://example.com"}
    result = {"toolUseId": "s1", "type": "web_fetch_tool_result", "status": "success"}

    content = content_of({"toolResult": {**result, "content": [{"json": found}]}}, role="assistant")

    assert content[0]["content"] == found
