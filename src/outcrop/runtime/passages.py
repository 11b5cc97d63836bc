"""Texts that are too long for a model, cut where the model itself would cut them."""

from collections.abc import Awaitable, Callable, Sequence

from outcrop.runtime.dialects.dialect import Call
from outcrop.runtime.dialects.openai_embeddings import Passage, Tokenizer
from outcrop.runtime.families.embedding import Truncate, Wanted
from outcrop.wire.errors import ValidationException

Ask = Callable[[Call], Awaitable[bytes]]

# What every text of such a model begins and ends with.
_MARKS = 2


class TooLongError(Exception):
    """A text has more tokens than allowed, and may not be cut."""

    def __init__(self, most_tokens: int, tokens: int) -> None:
        super().__init__(f"{tokens} tokens, at most {most_tokens}")
        self.most_tokens = most_tokens
        self.tokens = tokens


def surely_fit(texts: Sequence[str], most_tokens: int) -> bool:
    """No tokenizer makes more tokens than bytes, but for the marks."""
    return all(len(text.encode()) + _MARKS <= most_tokens for text in texts)


async def cut(wanted: Wanted, tokenizer: Tokenizer | None, ask: Ask) -> Sequence[Passage]:
    """What fits stays text; the rest loses tokens as it is wanted. Raises TooLongError."""
    most_tokens = _most_tokens(wanted, tokenizer)
    return [
        text
        if surely_fit([text], most_tokens)
        else _without(await _tokens(text, tokenizer, ask), text, wanted.truncate, most_tokens)
        for text in wanted.texts
    ]


def _most_tokens(wanted: Wanted, tokenizer: Tokenizer | None) -> int:
    limits = (wanted.max_tokens, None if tokenizer is None else tokenizer.most_tokens)
    return min(limit for limit in limits if limit is not None)


async def _tokens(text: str, tokenizer: Tokenizer | None, ask: Ask) -> tuple[int, ...]:
    if tokenizer is None:
        raise ValidationException(
            "The model returned the following errors: max_tokens is not supported by the server of"
            " this model"
        )
    return tokenizer.tokens(await ask(tokenizer.call(text)))


def _without(tokens: tuple[int, ...], text: str, truncate: Truncate, most_tokens: int) -> Passage:
    if len(tokens) <= most_tokens:
        return text
    if truncate == "none":
        raise TooLongError(most_tokens, len(tokens))
    kept = max(1, most_tokens - _MARKS)
    first, *inner, last = tokens
    return (first, *(inner[:kept] if truncate == "end" else inner[-kept:]), last)
