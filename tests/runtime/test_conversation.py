from base64 import b64encode
from typing import Any

import pytest

from outcrop.runtime.conversation import check
from outcrop.wire.errors import ValidationException
from tests.runtime.requests import HELLO, converse_request

TOOLS = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
# What a tool of the model's own vendor was asked, and found: all in the model's turn.
SEARCHED = (
    {"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use", "input": {}}},
    {"toolResult": {"toolUseId": "s", "type": "web_search_tool_result", "content": [{"json": {}}]}},
)
TOOL_USE: dict[str, Any] = {"toolUse": {"toolUseId": "one", "name": "t", "input": {}}}
IMAGE = {"image": {"format": "png", "source": {"bytes": "aGk="}}}


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> Any:
    return {"role": "assistant", "content": list(content)}


def tool_result(**members: Any) -> Any:
    return {"toolResult": {"toolUseId": "one", "content": [{"text": ""}], **members}}


TEXT = {"text": "x"}


def image(content: bytes) -> Any:
    source = {"bytes": b64encode(content).decode()}
    return {"image": {"format": "png", "source": source}}


def document(name: str, content: bytes = b"x") -> Any:
    source = {"bytes": b64encode(content).decode()}
    return {"document": {"format": "txt", "name": name, "source": source}}


def tools(schema: Any) -> Any:
    return {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": schema}}}]}


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
        ({"promptVariables": {"a": {"text": "x"}}}, "the promptVariables field."),
        (
            {"additionalModelResponseFieldPaths": ["stop_sequence"]},
            "additionalModelResponseFieldPaths.0 is not a valid JSON Pointer.",
        ),
        ({"additionalModelResponseFieldPaths": ["/a", "/~2"]}, "FieldPaths.1 is not a valid JSON"),
        (
            {"messages": [user(TEXT), assistant(IMAGE)]},
            "the image field for assistant messages. Remove image and try again.",
        ),
        (
            {"messages": [user(*[IMAGE] * 21)]},
            "You can't include more than 20 images in a request.",
        ),
        ({"messages": [user(image(b"x" * 3_932_161))]}, "exceeds the maximum image size."),
        (
            {"messages": [user(TEXT, *(document(f"d{n}") for n in range(6)))]},
            "You can't include more than 5 documents in a request.",
        ),
        (
            {"messages": [user(TEXT, document("d"), document("d"))]},
            "Messages can't contain duplicate document names.",
        ),
        ({"messages": [user(document("d"))]}, "includes a document and no text."),
        (
            {"messages": [user(TEXT, document("a.pdf"))]},
            "The document file name can only contain alphanumeric characters,",
        ),
        ({"messages": [user(TEXT, document("a  b"))]}, "one consecutive whitespace character."),
        (
            {"messages": [user(TEXT, document("d", b"x" * 4_718_593))]},
            "The provided document exceeds the maximum document size.",
        ),
        (
            {"toolConfig": tools({"type": "string"})},
            "toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following:",
        ),
        (
            {"toolConfig": tools([])},
            "The format of the value at toolConfig.tools.0.toolSpec.inputSchema.json is invalid.",
        ),
        (
            {"toolConfig": {**TOOLS, "toolChoice": {"tool": {"name": "other"}}}},
            "toolConfig.toolChoice.tool.name must be the name of a tool",
        ),
        (
            {
                "messages": [
                    user(TEXT),
                    assistant({"toolUse": {**TOOL_USE["toolUse"], "input": "x"}}),
                    user(tool_result()),
                ],
                "toolConfig": TOOLS,
            },
            "The format of the value at messages.1.content.0.toolUse.input is invalid.",
        ),
    ],
)
def test_what_a_request_may_not_hold_is_refused_in_amazons_words(body: Any, words: str) -> None:
    with pytest.raises(ValidationException) as caught:
        check(converse_request(**body))

    assert words in caught.value.message


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
        {"messages": [user(*[IMAGE] * 20)]},
        {"messages": [user(TEXT, *(document(f"d [{n}]") for n in range(5)))]},
        {"messages": [user(TEXT), assistant(TOOL_USE), user(tool_result())], "toolConfig": TOOLS},
        {"additionalModelResponseFieldPaths": ["/a/0/b~1c~0"], "toolConfig": TOOLS},
        {"messages": [user(TEXT), assistant(*SEARCHED, TEXT), user(TEXT)]},
    ],
)
def test_what_any_text_model_can_do_passes(body: Any) -> None:
    check(converse_request(**body))
