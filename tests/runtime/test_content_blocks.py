import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.dialects.content_blocks import BlockEvent, ContentBlocks
from outcrop.runtime.message import MessageParts
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ReasoningContentBlockDelta,
)

Call = tuple[int, str, str, str]


def fed(*fragments: Call | str) -> list[BlockEvent]:
    return list(_fed(ContentBlocks(), *fragments))


def _fed(blocks: ContentBlocks, *fragments: Call | str) -> Iterator[BlockEvent]:
    for fragment in fragments:
        if isinstance(fragment, str):
            yield from blocks.text(fragment)
        else:
            position, tool_use_id, name, piece = fragment
            yield from blocks.tool_use(position, tool_use_id=tool_use_id, name=name, fragment=piece)
    yield from blocks.end()


def content(events: list[BlockEvent]) -> list[ContentBlock]:
    parts = MessageParts()
    for event in events:
        if not isinstance(event, ContentBlockStopEvent):
            parts.add(event)
    return parts.blocks()


def calls(events: list[BlockEvent]) -> list[tuple[str, str, Any]]:
    uses = [block.tool_use for block in content(events)]
    return [(use.tool_use_id, use.name, json.loads(bytes(use.input))) for use in uses if use]


def assert_one_block_at_a_time(events: list[BlockEvent]) -> None:
    expected = 0
    for event in events:
        assert event.content_block_index == expected
        expected += isinstance(event, ContentBlockStopEvent)


INPUTS = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(max_size=20), st.integers(), st.none()), max_size=4
)


@pytest.mark.slow
@given(st.lists(INPUTS, min_size=1, max_size=4), st.data())
def test_interleaved_calls_split_anywhere_arrive_whole_and_in_order(
    inputs: list[Any], data: st.DataObject
) -> None:
    texts = [json.dumps(value, ensure_ascii=False) for value in inputs]
    waiting = [[(n, f"id-{n}", f"tool{n}", "")] for n in range(len(texts))]
    for n, text in enumerate(texts):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        edges = [0, *cuts, len(text)]
        waiting[n] += [(n, "", "", text[a:b]) for a, b in pairwise(edges)]
    fragments: list[Call | str] = [calls_of.pop(0) for calls_of in waiting]
    while any(waiting):
        chosen = data.draw(st.sampled_from([n for n, left in enumerate(waiting) if left]))
        fragments.append(waiting[chosen].pop(0))

    events = fed(*fragments)

    assert_one_block_at_a_time(events)
    assert calls(events) == [(f"id-{n}", f"tool{n}", value) for n, value in enumerate(inputs)]


def test_the_first_call_streams_as_it_comes_and_the_next_when_it_is_whole() -> None:
    blocks = ContentBlocks()

    first = list(blocks.tool_use(0, tool_use_id="a", name="t", fragment='{"x":'))
    early = list(blocks.tool_use(1, tool_use_id="b", name="u", fragment="{"))
    whole = list(blocks.tool_use(0, tool_use_id="", name="", fragment="1}"))

    assert [type(event) for event in first] == [ContentBlockStartEvent, ContentBlockDeltaEvent]
    assert early == []
    assert [event.content_block_index for event in whole] == [0, 0, 1, 1]


def test_text_then_a_call_then_text_are_three_blocks() -> None:
    events = fed("Let me ", "see.", (0, "a", "t", "{}"), "Done.")

    assert_one_block_at_a_time(events)
    texts = [block.text for block in content(events)]
    assert texts == ["Let me see.", None, "Done."]


def test_white_space_around_calls_is_no_block_of_its_own() -> None:
    events = fed("\n\n", (0, "a", "t", "{}"), "\n")

    assert [block.text for block in content(events)] == [None]


def test_white_space_before_text_belongs_to_it() -> None:
    assert content(fed("\n\n", "Hello")) == [ContentBlock(text="\n\nHello")]


def test_reasoning_ends_before_the_text_begins() -> None:
    blocks = ContentBlocks()
    deltas = [ReasoningContentBlockDelta(text="hm"), ReasoningContentBlockDelta(signature="s")]

    events = [event for delta in deltas for event in blocks.reasoning(delta)]
    events += [*blocks.text("Yes"), *blocks.end()]

    assert_one_block_at_a_time(events)
    reasoning, text = content(events)
    assert reasoning.reasoning_content is not None
    assert reasoning.reasoning_content.reasoning_text is not None
    assert reasoning.reasoning_content.reasoning_text.signature == "s"
    assert text.text == "Yes"


def test_calls_that_share_a_position_are_told_apart_by_their_ids() -> None:
    events = fed((0, "a", "t", '{"x":1}'), (0, "b", "t", '{"x":2}'))

    assert calls(events) == [("a", "t", {"x": 1}), ("b", "t", {"x": 2})]


def test_a_call_without_input_has_an_empty_one() -> None:
    assert calls(fed((0, "a", "t", ""))) == [("a", "t", {})]


@pytest.mark.parametrize("given_id", ["", "spaces are not allowed", "x" * 65])
def test_an_id_that_converse_does_not_allow_is_replaced(given_id: str) -> None:
    blocks = ContentBlocks()
    blocks.answer_id = "chatcmpl 1"

    events = list(_fed(blocks, (0, given_id, "t", "{}"), (1, given_id, "t", "{}")))

    assert [one[0] for one in calls(events)] == ["tooluse_chatcmpl_1_0", "tooluse_chatcmpl_1_1"]


@pytest.mark.parametrize(
    ("fragment", "malformed"),
    [("{}", False), ("", False), ('{"a":', True), ("[]", True), ("call me", True)],
)
def test_input_that_is_no_object_is_noticed(fragment: str, malformed: bool) -> None:  # noqa: FBT001 - a table
    blocks = ContentBlocks()

    events = list(_fed(blocks, (0, "a", "t", fragment)))

    assert blocks.malformed_tool_use is malformed
    assert len(content(events)) == 1


@pytest.mark.parametrize("late", ["\n", '{"x":1}'])
def test_what_comes_behind_a_call_that_has_gone_out_changes_no_other(late: str) -> None:
    events = fed(
        (0, "a", "t", '{"x":1}'), (1, "b", "u", '{"y":'), (0, "", "", late), (1, "", "", "2}")
    )

    assert_one_block_at_a_time(events)
    assert calls(events) == [("a", "t", {"x": 1}), ("b", "u", {"y": 2})]


def test_calls_that_share_a_position_and_have_no_ids_are_told_apart_by_their_ends() -> None:
    events = fed((0, "", "t", '{"x":'), (0, "", "t", "1}"), (0, "", "t", '{"x":2}'))

    assert [value for _, _, value in calls(events)] == [{"x": 1}, {"x": 2}]
