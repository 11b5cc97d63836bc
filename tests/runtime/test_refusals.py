from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.embedded_chat import EmbeddedChat
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.dialects.refusals import refusal
from outcrop.wire.errors import ValidationException
from tests.runtime.requests import converse_request, stream_request

NOTHING = Capabilities(
    tools=False, images=False, json_schema=False, reasoning=False, completions=False
)
TEXT = {"text": "x"}
IMAGE = {"image": {"format": "png", "source": {"bytes": "aGk="}}}
TOOLS = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
JSON_SCHEMA = {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}


CLAUDES_SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def in_s3(kind: str, file_format: str, **more: str) -> Any:
    source = {"s3Location": {"uri": "s3://bucket/key"}}
    return {kind: {"format": file_format, "source": source, **more}}


CITED = {
    "searchResult": {
        "source": "s",
        "title": "t",
        "content": [{"text": "x"}],
        "citations": {"enabled": True},
    }
}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [user(IMAGE)]}, "the image field for user messages. Remove image and try"),
        (
            {
                "messages": [user({"toolResult": {"toolUseId": "a", "content": [IMAGE]}})],
            },
            "the image field for user messages.",
        ),
        (
            {"messages": [user({"guardContent": IMAGE})]},
            "the guardContent.image field. Remove guardContent.image and try again.",
        ),
        ({"toolConfig": TOOLS}, "This model doesn't support tool use."),
        ({"outputConfig": {"textFormat": JSON_SCHEMA}}, "the outputConfig.textFormat field."),
        ({"outputConfig": {"effort": "low"}}, "the outputConfig.effort field."),
        (
            {"additionalModelRequestFields": {"output_config": {"format": CLAUDES_SCHEMA}}},
            "the additionalModelRequestFields.output_config.format field.",
        ),
    ],
)
def test_what_a_server_cannot_do_is_refused_in_amazons_words(body: Any, words: str) -> None:
    refused = refusal(converse_request(**body), NOTHING)

    assert refused is not None
    assert words in refused.message
    assert refusal(converse_request(**body), Capabilities()) is None


@pytest.mark.parametrize("member", ["document", "searchResult"])
def test_who_reads_files_as_text_says_nothing_of_their_places(member: str) -> None:
    document = {"name": "d", "source": {"text": "x"}, "citations": {"enabled": True}}
    content = {"document": document} if member == "document" else CITED
    asked = converse_request(messages=[user(TEXT, content)])

    with pytest.raises(ValidationException, match=f"the {member}.citations field"):
        AnthropicMessages().call(asked, "m", NOTHING)


def test_tool_use_in_a_stream_has_words_of_its_own() -> None:
    refused = refusal(stream_request(toolConfig=TOOLS), NOTHING)

    assert refused is not None
    assert refused.message == "This model doesn't support tool use in streaming mode."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"messages": [user(TEXT), {"role": "system", "content": [TEXT]}]},
            "the system field for messages.",
        ),
        ({"messages": [user(in_s3("video", "mp4"))]}, "the video field for user messages."),
        ({"messages": [user(in_s3("audio", "mp3"))]}, "the audio field for user messages."),
        ({"messages": [user(in_s3("image", "png"))]}, "the image.source.s3Location field"),
        (
            {"messages": [user(TEXT, in_s3("document", "pdf", name="d"))]},
            "the document.source.s3Location field",
        ),
        (
            {
                "messages": [
                    user(
                        TEXT,
                        {
                            "document": {
                                "name": "d",
                                "source": {"text": "x"},
                                "citations": {"enabled": True},
                            }
                        },
                    )
                ]
            },
            "the document.citations field",
        ),
        ({"messages": [user(CITED)]}, "the searchResult.citations field for user messages."),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "t"}}]}}, "the systemTool field."),
        (
            {"guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"}},
            "The guardrail identifier or version provided in the request does not exist.",
        ),
    ],
)
def test_what_chat_completions_have_no_place_for_is_refused(body: Any, words: str) -> None:
    for dialect in (OpenAiChat(), EmbeddedChat(system_prompt="x", max_tokens=1)):
        with pytest.raises(ValidationException) as caught:
            dialect.call(converse_request(**body), "m", Capabilities())
        assert words in caught.value.message
