"""Ids of calls that gateways give in the name of Anthropic, and Converse would not take back."""

from typing import Any

import pytest

from outcrop.runtime.dialects.anthropic_stream import MessageReader
from outcrop.wire.shapes.bedrock_runtime import ContentBlockStartEvent
from tests.fakes import anthropic_streams as recorded


def ids(*given: str | None) -> list[str]:
    pieces = [recorded.start()]
    for index, tool_use_id in enumerate(given):
        block: dict[str, Any] = {"type": "tool_use", "id": tool_use_id, "name": "t", "input": {}}
        pieces.append(recorded.event("content_block_start", index=index, content_block=block))
        pieces.append(recorded.event("content_block_stop", index=index))
    reader = MessageReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    starts = [event.start for event in events if isinstance(event, ContentBlockStartEvent)]
    return [start.tool_use.tool_use_id for start in starts if start.tool_use is not None]


def test_an_id_that_converse_takes_stays_what_it_is() -> None:
    assert ids("toolu_01A", "call.b:1") == ["toolu_01A", "call.b:1"]


@pytest.mark.parametrize("given", [None, "", "call_1__thought__" + "a" * 64, "a b", "\u00fc"])
def test_any_other_id_becomes_one_that_converse_takes(given: str | None) -> None:
    first, second = ids(given, given)

    assert first != second
    for made in (first, second):
        assert made.startswith("tooluse_")
        assert len(made) <= 64
