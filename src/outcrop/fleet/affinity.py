"""Which server holds the cache of a conversation: the turns so far, and who answered them.

A model server keeps what it has computed of a prompt. The next turn of a conversation begins with
the last one, word for word, so the server that answered the last has the least to do.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from outcrop.wire.shapes.bedrock_runtime import ContentBlock, Message, SystemContentBlock

# Of a long conversation, its first message and so many of its last are told apart from others.
_LAST = 4
# Of a raw prompt, nothing shorter is remembered; longer beginnings at each doubling.
_SHORTEST_PROMPT = 512


class Prefix(Struct, frozen=True):
    """Keys: what a request goes on from, the best first, and what goes on from it."""

    goes_on_from: tuple[int, ...]
    leads_to: tuple[int, ...]


class Affinity:
    def __init__(self, most: int) -> None:
        """`most` keys are remembered: those that were used last."""
        self._most = most
        self._servers: OrderedDict[int, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._servers)

    def server(self, prefix: Prefix) -> str | None:
        """The name of the one that has most of it."""
        known = self._servers
        for key in prefix.goes_on_from:
            if key in known:
                return known[key]
        return None

    def keep(self, prefix: Prefix, server: str) -> None:
        known = self._servers
        for key in prefix.leads_to:
            known[key] = server
            known.move_to_end(key)
        while len(known) > self._most:
            known.popitem(last=False)


def conversation_prefix(
    model_id: str, system: Sequence[SystemContentBlock], messages: Sequence[Message]
) -> Prefix | None:
    """None where nothing would be gained: no message at all."""
    if not messages:
        return None
    whose = (model_id, *[block.text for block in system])
    answered = _last_answer(messages)
    before = () if answered is None else (_key(whose, messages, answered),)
    return Prefix(before, (_key(whose, messages, len(messages)),))


def prompt_prefix(model_id: str, prompt: str) -> Prefix | None:
    """A prompt's turns are not known: what counts is the longest beginning that was seen."""
    keys = tuple(_beginnings(model_id, prompt))
    return Prefix(keys[::-1], keys) if keys else None


def _last_answer(messages: Sequence[Message]) -> int | None:
    """The place of the last message that is not a user's."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "assistant":
            return at
    return None


def _key(whose: Iterable[object], messages: Sequence[Message], end: int) -> int:
    """Of the messages before `end`."""
    is_long = end > 1 + _LAST
    told = (messages[0], *messages[end - _LAST : end]) if is_long else messages[:end]
    traces = [
        _trace(block) if block.text is None else block.text
        for message in told
        for block in message.content
    ]
    return hash((*whose, end, *traces))


def _trace(block: ContentBlock) -> object:
    """What tells one that is no text from others: its id or its size."""
    if block.tool_use is not None:
        return block.tool_use.tool_use_id
    if block.tool_result is not None:
        return block.tool_result.tool_use_id
    if block.image is not None and block.image.source.bytes is not None:
        return len(block.image.source.bytes)
    if block.document is not None:
        return block.document.name
    return None


def _beginnings(model_id: str, prompt: str) -> Iterator[int]:
    length = _SHORTEST_PROMPT
    while length <= len(prompt):
        yield hash((model_id, prompt[:length]))
        length *= 2
