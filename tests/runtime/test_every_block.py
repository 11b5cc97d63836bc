"""Every kind of content in every dialect: a server is asked it, or it is refused by name."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.conversation import check
from outcrop.runtime.dialects.refusals import refusal
from outcrop.runtime.inference import DIALECTS
from outcrop.wire.errors import ValidationException
from tests.runtime.requests import converse_request

Body = dict[str, Any]

SAID = "xq7said"
ENCODED = b64encode(SAID.encode()).decode()
EVERYTHING = Capabilities(documents=True)
"""A server that can do whatever there is."""
NOTHING = Capabilities(
    tools=False, images=False, documents=False, json_schema=False, reasoning=False
)
TOOL = {"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}
TEXT = {"text": "?"}
S3 = {"s3Location": {"uri": f"s3://bucket/{SAID}"}}


def user(*blocks: Body) -> Body:
    return {"messages": [{"role": "user", "content": [TEXT, *blocks]}]}


def assistant(*blocks: Body) -> Body:
    turns = [[TEXT], blocks, [TEXT]]
    roles = ["user", "assistant", "user"]
    return {
        "messages": [
            {"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)
        ]
    }


def result(*parts: Body, called_with: str = "", **members: Any) -> Body:
    use = {"toolUse": {"toolUseId": "a", "name": "t", "input": {"x": called_with}}}
    answer = {"toolResult": {"toolUseId": "a", "content": parts, **members}}
    turns = [[TEXT], [use], [answer]]
    roles = ["user", "assistant", "user"]
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)]
    return {"messages": messages, "toolConfig": {"tools": [TOOL]}}


def image(source: Body) -> Body:
    return {"image": {"format": "png", "source": source}}


def document(source: Body, **members: Any) -> Body:
    return {"document": {"name": "d", "format": "txt", "source": source, **members}}


def search_result() -> Body:
    content, cited = [{"text": SAID}], {"enabled": False}
    return {"searchResult": {"source": "s", "title": "t", "content": content, "citations": cited}}


def reasoning(**members: Any) -> Body:
    return {"reasoningContent": members}


CELLS: Mapping[str, Body] = {
    "text": user({"text": SAID}),
    "system": {"system": [{"text": SAID}]},
    "system guardContent": {"system": [{"guardContent": {"text": {"text": SAID}}}]},
    "system guardContent image": {"system": [{"guardContent": image({"bytes": ENCODED})}]},
    "image": user(image({"bytes": ENCODED})),
    "image in S3": user(image(S3)),
    "document text": user(document({"text": SAID})),
    "document content": user(document({"content": [{"text": SAID}]})),
    "document context": user(document({"text": "x"}, context=SAID)),
    "document with citations": user(document({"text": SAID}, citations={"enabled": True})),
    "document in S3": user(document(S3)),
    "video": user({"video": {"format": "mp4", "source": {"bytes": ENCODED}}}),
    "audio": user({"audio": {"format": "mp3", "source": {"bytes": ENCODED}}}),
    "guardContent": user({"guardContent": {"text": {"text": SAID}}}),
    "guardContent image": user({"guardContent": image({"bytes": ENCODED})}),
    "searchResult": user(search_result()),
    "toolUse": result({"text": "x"}, called_with=SAID),
    "toolResult text": result({"text": SAID}),
    "toolResult json": result({"json": {"x": SAID}}),
    "toolResult image": result(image({"bytes": ENCODED})),
    "toolResult document": result(document({"text": SAID})),
    "toolResult searchResult": result(search_result()),
    "toolResult video": result({"video": {"format": "mp4", "source": {"bytes": ENCODED}}}),
    "failed toolResult": result({"text": SAID}, status="error"),
    "reasoningContent": assistant(
        reasoning(reasoningText={"text": SAID, "signature": "s"}), {"text": "x"}
    ),
    "reasoningContent signature": assistant(
        reasoning(reasoningText={"text": "t", "signature": SAID}), {"text": "x"}
    ),
    "redacted reasoningContent": assistant(reasoning(redactedContent=ENCODED), {"text": "x"}),
    "citationsContent": assistant(
        {"citationsContent": {"content": [{"text": SAID}], "citations": []}}
    ),
    "tools": {"toolConfig": {"tools": [TOOL | {"toolSpec": TOOL["toolSpec"] | {"name": SAID}}]}},
    "toolChoice": {
        "toolConfig": {
            "tools": [{"toolSpec": {**TOOL["toolSpec"], "name": SAID}}],
            "toolChoice": {"tool": {"name": SAID}},
        }
    },
    "systemTool": {"toolConfig": {"tools": [{"systemTool": {"name": SAID}}]}},
    "stopSequences": {"inferenceConfig": {"stopSequences": [SAID]}},
    "outputConfig": {
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": f'{{"title":"{SAID}"}}', "name": "n"}},
            }
        }
    },
    "effort": {"outputConfig": {"effort": "low"}},
    "guardrailConfig": {"guardrailConfig": {"guardrailIdentifier": SAID, "guardrailVersion": "1"}},
}

# What is left out, and why no answer is wrong without it.
LEFT_OUT = {
    # The API has no place for the signature of a thought, nor for one nobody can read.
    ("openai", "reasoningContent signature"),
    ("openai", "redacted reasoningContent"),
    # A small model that does not reason, and calls a tool only where it must.
    ("embedded", "reasoningContent"),
    ("embedded", "reasoningContent signature"),
    ("embedded", "redacted reasoningContent"),
    ("embedded", "tools"),
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("able", [EVERYTHING, NOTHING], ids=["able", "unable"])
def test_nothing_that_was_said_is_lost(dialect: str, cell: str, able: Capabilities) -> None:
    request = converse_request(**CELLS[cell])
    check(request)

    asked = _asked(dialect, request, able)

    lost = asked is not None and not any(sign in asked for sign in (SAID, ENCODED, '"low"'))
    thought = "easoning" in cell and not able.reasoning and dialect != "bedrock"
    left_out = asked is not None and ((dialect, cell) in LEFT_OUT or thought)
    assert lost == left_out, asked


def _asked(dialect: str, request: Any, able: Capabilities) -> str | None:
    """What the server reads; None if it is refused."""
    if refusal(request, able) is not None:
        return None
    try:
        return DIALECTS[dialect].call(request, "m", able).body.decode()
    except ValidationException:
        return None
