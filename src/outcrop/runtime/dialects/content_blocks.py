"""Fragments of an answer to Converse's blocks: one open at a time, whatever order they come in."""

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ReasoningContentBlockDelta,
    ToolUseBlockDelta,
    ToolUseBlockStart,
)

BlockEvent = ContentBlockStartEvent | ContentBlockDeltaEvent | ContentBlockStopEvent

_TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_.:-]+")


class ContentBlocks:
    """Clients put blocks together by their order: a block ends before the next one begins.

    Only the first block that is not at its end goes out as it comes; what belongs to later ones
    waits. A tool's input is at its end when it is a whole JSON value.
    """

    def __init__(self) -> None:
        self.answer_id = ""
        """Goes into the ids of tool uses that the server gives none."""
        self._open: list[_Block] = []
        self._index = 0
        self._tools: dict[int, _ToolUse] = {}
        self.used_tools = False
        self.malformed_tool_use = False
        """Whether the input of a tool that has ended is no JSON object."""

    def text(self, text: str) -> Sequence[BlockEvent]:
        block = self._open[-1] if self._open else None
        delta = ContentBlockDelta(text=text)
        if type(block) is not _Text:
            block = self._add(_Text())
            # As most blocks begin: with something to read.
            block.told = len(self._open) == 1 and bool(text) and not text.isspace()
        if block.told and len(self._open) == 1:
            # Most of what a model says: more text, and nothing that waits.
            return (ContentBlockDeltaEvent(delta=delta, content_block_index=self._index),)
        return self._more(block, delta)

    def reasoning(self, delta: ReasoningContentBlockDelta) -> Sequence[BlockEvent]:
        block = self._open[-1] if self._open else None
        if type(block) is not _Reasoning:
            block = self._add(_Reasoning())
        return self._more(block, ContentBlockDelta(reasoning_content=delta))

    def tool_use(
        self, position: int, *, tool_use_id: str, name: str, fragment: str
    ) -> Sequence[BlockEvent]:
        """`position` tells calls apart; id and name come with the first fragment of each."""
        block = self._tools.get(position)
        # Some servers give every call the same position: a new id with a name is a new call.
        if block is None or (name and block.is_other(tool_use_id, fragment)):
            self.used_tools = True
            block = self._tools[position] = self._add(
                _ToolUse(tool_use_id, self.own_tool_use_id(self._index + len(self._open)))
            )
        if block.closed:
            # White space behind its input, or the input once more: it has gone out whole.
            return ()
        block.name = block.name or name
        if not fragment:
            return self._advance()
        block.fragments.append(fragment)
        return self._more(block, ContentBlockDelta(tool_use=ToolUseBlockDelta(input=fragment)))

    def end(self) -> Sequence[BlockEvent]:
        """The answer is over: whatever waits goes out."""
        told: list[BlockEvent] = []
        alone = self._index == 0 and len(self._open) == 1
        while self._open:
            self._tell(self._open[0], told, whatever=alone)
            self._close(told)
        return told

    def own_tool_use_id(self, number: int) -> str:
        return own_tool_use_id(self.answer_id, number)

    def _add(self, block: "_BlockT") -> "_BlockT":
        self._open.append(block)
        return block

    def _more(self, block: "_Block", delta: ContentBlockDelta) -> Sequence[BlockEvent]:
        block.waiting.append(delta)
        if len(self._open) > 1:
            return self._advance()
        told: list[BlockEvent] = []
        self._tell(block, told)
        return told

    def _advance(self) -> Sequence[BlockEvent]:
        told: list[BlockEvent] = []
        while len(self._open) > 1 and self._open[0].ended:
            self._tell(self._open[0], told)
            self._close(told)
        if self._open:
            self._tell(self._open[0], told)
        return told

    def _tell(self, block: "_Block", told: list[BlockEvent], *, whatever: bool = False) -> None:
        """What waits in the first block, unless it is too early to tell."""
        if not (block.ready or (whatever and type(block) is _Text)):
            return
        if type(block) is _ToolUse and not block.told:
            start = ToolUseBlockStart(tool_use_id=block.tool_use_id, name=block.name)
            told.append(
                ContentBlockStartEvent(
                    start=ContentBlockStart(tool_use=start), content_block_index=self._index
                )
            )
        block.told = True
        told += [
            ContentBlockDeltaEvent(delta=delta, content_block_index=self._index)
            for delta in block.waiting
        ]
        block.waiting.clear()

    def _close(self, told: list[BlockEvent]) -> None:
        block = self._open.pop(0)
        if type(block) is _ToolUse:
            self._close_tool(block, told)
        if block.told:
            told.append(ContentBlockStopEvent(content_block_index=self._index))
            self._index += 1

    def _close_tool(self, block: "_ToolUse", told: list[BlockEvent]) -> None:
        block.closed = True
        text = "".join(block.fragments)
        if block.told and not text.strip():
            # A tool without parameters: clients decode what they were sent.
            text = "{}"
            delta = ContentBlockDelta(tool_use=ToolUseBlockDelta(input=text))
            told.append(ContentBlockDeltaEvent(delta=delta, content_block_index=self._index))
        self.malformed_tool_use |= not (block.told and is_json_object(text))


def own_tool_use_id(answer_id: str, number: int) -> str:
    return f"tooluse_{_NOT_IN_AN_ID.sub('_', answer_id)[-40:]}_{number}"


def is_tool_use_id(given: str) -> bool:
    """Whether Converse takes it back: some servers give none, some use other characters."""
    return _TOOL_USE_ID.fullmatch(given) is not None


def is_json_object(text: str) -> bool:
    return text.lstrip().startswith("{") and is_json(text)


class _Text:
    def __init__(self) -> None:
        self.waiting: list[ContentBlockDelta] = []
        self.told = False

    @property
    def ready(self) -> bool:
        """White space alone is no text to Converse, which would refuse it in the next request."""
        return self.told or any(delta.text and not delta.text.isspace() for delta in self.waiting)

    @property
    def ended(self) -> bool:
        return True


class _Reasoning:
    ready = True
    ended = True

    def __init__(self) -> None:
        self.waiting: list[ContentBlockDelta] = []
        self.told = False


class _ToolUse:
    def __init__(self, given_id: str, own_id: str) -> None:
        self.given_id = given_id
        self.tool_use_id = given_id if is_tool_use_id(given_id) else own_id
        self.name = ""
        self.fragments: list[str] = []
        self.waiting: list[ContentBlockDelta] = []
        self.told = False
        self.closed = False

    def is_other(self, tool_use_id: str, fragment: str) -> bool:
        """Whether this fragment with a name begins another call at the same position."""
        if tool_use_id or self.given_id:
            return tool_use_id not in {"", self.given_id}
        return bool(fragment.strip()) and self.ended

    @property
    def ready(self) -> bool:
        return bool(self.name)

    @property
    def ended(self) -> bool:
        closing = bool(self.fragments) and self.fragments[-1].rstrip().endswith("}")
        return closing and is_json("".join(self.fragments))


_Block = _Text | _Reasoning | _ToolUse
_BlockT = TypeVar("_BlockT", _Text, _Reasoning, _ToolUse)


def is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except BAD_JSON:
        return False
    return True
