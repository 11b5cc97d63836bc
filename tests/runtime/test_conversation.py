from typing import Any

import pytest

from outcrop.runtime.conversation import check
from outcrop.wire.errors import ValidationException
from tests.runtime.requests import HELLO, converse_request, stream_request

TOOLS = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
TOOL_USE = {"toolUse": {"toolUseId": "one", "name": "t", "input": {}}}
IMAGE = {"image": {"format": "png", "source": {"bytes": "aGk="}}}


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Any:
    return {"role": "assistant", "content": list(content)}


def tool_result(**members: Any) -> Any:
    return {"toolResult": {"toolUseId": "one", "content": [{"text": ""}], **members}}


TEXT = {"text": "x"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "A conversation must start with a user message."),
        ({"messages": [assistant(TEXT)]}, "A conversation must start with a user message."),
        ({"messages": [user(TEXT), user(TEXT)]}, "must alternate between user and assistant"),
        (
            {"messages": [user(TEXT), assistant(), user(TEXT)]},
            "The content field in the Message object at messages.1 is empty.",
        ),
        (
            {"messages": [user(TEXT, {"text": " \n"})]},
            "The text field in the ContentBlock object at messages.0.content.1 is blank.",
        ),
        ({"system": [{"text": " "}]}, "object at system.0 is blank."),
        (
            {"messages": [user({"reasoningContent": {"reasoningText": {"text": "x"}}})]},
            "User messages cannot contain reasoning content.",
        ),
        (
            {"messages": [user(TEXT), assistant(TOOL_USE), user(tool_result())]},
            "The toolConfig field must be defined",
        ),
        (
            {"messages": [user(TEXT), assistant(TOOL_USE), user(TEXT)], "toolConfig": TOOLS},
            "Expected toolResult blocks at messages.2.content for the following Ids: one",
        ),
        (
            {"messages": [user(tool_result())], "toolConfig": TOOLS},
            "The number of toolResult blocks at messages.0.content exceeds",
        ),
        (
            {"messages": [user(tool_result(content=[], status="error"))], "toolConfig": TOOLS},
            "The content field at messages.0.content.0.toolResult cannot be empty when status",
        ),
        (
            {"messages": [user(tool_result(content=[{"json": [1]}]))], "toolConfig": TOOLS},
            "The format of the value at messages.0.content.0.toolResult.content.0.json is invalid.",
        ),
        ({"serviceTier": {"type": "gold"}}, "service tier provided is invalid"),
        ({"serviceTier": {"type": "reserved"}}, "Reservation not found."),
    ],
)
def test_what_no_model_accepts_is_refused_in_amazons_words(body: Any, words: str) -> None:
    with pytest.raises(ValidationException) as caught:
        check(converse_request(**body))

    assert words in caught.value.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [user(IMAGE)]}, "the image field for user messages. Remove image and"),
        (
            {"messages": [user({"guardContent": {"text": {"text": "x"}}})]},
            "the guardContent field for user messages.",
        ),
        (
            {
                "messages": [
                    user(TEXT),
                    assistant({"reasoningContent": {"reasoningText": {"text": "x"}}}),
                ]
            },
            "the reasoningContent field for assistant messages.",
        ),
        (
            {"messages": [user(TEXT), {"role": "system", "content": [TEXT]}]},
            "the system field for messages.",
        ),
        (
            {"system": [{"guardContent": {"text": {"text": "x"}}}]},
            "the guardContent field for system messages.",
        ),
        ({"toolConfig": TOOLS}, "This model doesn't support tool use."),
        ({"promptVariables": {"a": {"text": "x"}}}, "the promptVariables field."),
        ({"outputConfig": {"effort": "low"}}, "the outputConfig field."),
        (
            {"guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"}},
            "The guardrail identifier or version provided in the request does not exist.",
        ),
    ],
)
def test_what_our_models_cannot_do_is_refused_and_never_left_out(body: Any, words: str) -> None:
    with pytest.raises(ValidationException) as caught:
        check(converse_request(**body))

    assert words in caught.value.message


def test_tool_use_in_a_stream_has_words_of_its_own() -> None:
    with pytest.raises(ValidationException, match="support tool use in streaming mode"):
        check(stream_request(toolConfig=TOOLS))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": [*HELLO, assistant(TEXT), user(TEXT)]},
        {"messages": [*HELLO, assistant(TEXT)]},
        {"messages": [user(TEXT, {"cachePoint": {"type": "default"}})]},
        {"system": [TEXT, {"cachePoint": {"type": "default"}}]},
        {"requestMetadata": {"team": "a"}, "serviceTier": {"type": "flex"}},
        {"performanceConfig": {"latency": "optimized"}},
    ],
)
def test_what_any_text_model_can_do_passes(body: Any) -> None:
    check(converse_request(**body))
