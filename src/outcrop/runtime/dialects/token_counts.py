"""Ways to ask a model server how many tokens something is: real counts of its own tokenizer."""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.anthropic_terms import in_common_terms
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Asked, Call, Capabilities, Dialect, Prompt
from outcrop.runtime.dialects.openai_chat import as_conversation
from outcrop.runtime.dialects.openai_request import chat_body, prefilled
from outcrop.runtime.dialects.refusals import refuse_what_chat_lacks

# llama.cpp: takes the body of a chat completion.
_INPUT_TOKENS: Final = "/chat/completions/input_tokens"
# vLLM, and SGLang for prompts; beside the API, not in it.
_TOKENIZE: Final = "/../tokenize"


class Way(Struct, frozen=True):
    """One question; a server that does not know it answers with an error or something else."""

    call: Call
    member: str
    """Of the answer: the count, or the tokens themselves."""

    def counted(self, body: bytes) -> int | None:
        try:
            members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            said = msgspec.json.decode(members[self.member], type=int | list[msgspec.Raw])
        except (KeyError, *BAD_JSON):
            return None
        return said if isinstance(said, int) else len(said)


class TokenCounter(Protocol):
    def ways(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Sequence[Way]:
        """In the order to try them. Raises ValidationException for what cannot be asked."""
        ...


class OpenAiCounter:
    def ways(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Sequence[Way]:
        asked = in_common_terms(asked)
        if type(asked) is Prompt:
            body = msgspec.json.encode({"model": served_as, "prompt": asked.prompt})
            of_llama_cpp = Way(Call(_TOKENIZE, _content(asked)), "tokens")
            return (Way(Call(_TOKENIZE, body), "count"), of_llama_cpp)
        refuse_what_chat_lacks(asked)
        members = chat_body(asked, served_as, capabilities)
        counted = {name: members[name] for name in _counted(members)}
        counted |= prefilled(members["messages"], capabilities)
        body = msgspec.json.encode(counted)
        with_prompt = msgspec.json.encode({"add_generation_prompt": True, **counted})
        return (
            Way(Call(_INPUT_TOKENS, body), "input_tokens"),
            Way(Call(_TOKENIZE, with_prompt), "count"),
        )


class EmbeddedCounter:
    def __init__(self, chat: Dialect) -> None:
        self._chat = chat

    def ways(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Sequence[Way]:
        if type(asked) is Prompt and capabilities.completions:
            return (Way(Call(_TOKENIZE, _content(asked)), "tokens"),)
        call = self._chat.call(as_conversation(asked), served_as, capabilities)
        return (Way(Call(_INPUT_TOKENS, call.body), "input_tokens"),)


class CountsTokens(Protocol):
    """A dialect with a question of its own."""

    def count_tokens(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call: ...


class OwnCounter:
    def __init__(self, dialect: CountsTokens, *, member: str) -> None:
        self._dialect = dialect
        self._member = member

    def ways(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Sequence[Way]:
        call = self._dialect.count_tokens(asked, served_as, capabilities)
        return (Way(call, self._member),)


def _content(prompt: Prompt) -> bytes:
    members = {"content": prompt.prompt, "add_special": True, "parse_special": True}
    return msgspec.json.encode(members)


def _counted(members: dict[str, object]) -> Iterator[str]:
    yield from (name for name in ("model", "messages", "tools") if name in members)
