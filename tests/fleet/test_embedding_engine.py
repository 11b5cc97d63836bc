"""The real engine with the real weights, and that neither is there before it is needed."""

import asyncio
import base64
import json
import math
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outcrop.fleet.config import EmbeddedConfig
from outcrop.fleet.embedded import EmbeddedModel, EmbeddedSettings
from outcrop.fleet.embedded_engine import EMBEDDING_TOKENS, chat_engine, embedding_engine
from outcrop.fleet.embedded_folder import embedded_status
from outcrop.fleet.failures import ServerFailureError
from outcrop.fleet.fleet_keeper import open_fleet
from outcrop.fleet.model_server import Call
from outcrop.fleet.weights import MINILM
from outcrop.runtime.dialects.openai_embeddings import EmbeddedEmbeddings, Passage
from outcrop.store.catalogue import EMBEDDING_MODEL_ID, Catalogue, FoundationModel
from tests.clocks import FakeClock

REFERENCE = json.loads((Path(__file__).parent / "minilm_reference.json").read_text())
DIALECT = EmbeddedEmbeddings(most_tokens=EMBEDDING_TOKENS)

ALIKE = [
    ("How do I reset my password?", "I forgot my login credentials and need a new password."),
    ("The cat sleeps on the warm roof.", "A kitten is napping on top of the house."),
    ("Interest rates rose again this month.", "The central bank made borrowing more expensive."),
    ("The bridge is closed for repairs.", "While they mend it, nobody may cross the bridge."),
]


def model(model_id: str) -> FoundationModel:
    found = Catalogue().foundation_model("us-east-1", model_id)
    assert found is not None
    return found


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


@asynccontextmanager
async def embedding_model(state: Path, cache: Path) -> AsyncGenerator[EmbeddedModel]:
    config = EmbeddedConfig()
    settings = EmbeddedSettings(config=config, state=state, cache=cache)
    async with asyncio.TaskGroup() as tasks:
        opened = EmbeddedModel(settings, embedding_engine(config), tasks=tasks, clock=FakeClock())
        try:
            yield opened
        finally:
            await opened.aclose()


async def ask(opened: EmbeddedModel, call: Any) -> bytes:
    async with opened.open(Call(call.path, call.body)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def vectors(
    opened: EmbeddedModel, passages: Sequence[Passage], *, normalize: bool = True
) -> list[list[float]]:
    call = DIALECT.call(passages, EMBEDDING_MODEL_ID, dimensions=None, normalize=normalize)
    return DIALECT.vectors(await ask(opened, call), len(passages)).vectors


@pytest.mark.slow
def test_the_engine_embeds_as_the_model_does_at_full_precision(
    model_cache: Path, tmp_path: Path
) -> None:
    sentences: dict[str, Any] = REFERENCE["vectors"]

    async def main() -> tuple[list[list[float]], list[list[float]], int | None]:
        async with embedding_model(tmp_path, model_cache) as opened:
            raw = await vectors(opened, list(sentences), normalize=False)
            pairs = await vectors(opened, [text for pair in ALIKE for text in pair])
            call = DIALECT.call(list(sentences), "x", dimensions=None, normalize=True)
            counted = DIALECT.vectors(await ask(opened, call), 2).input_tokens
            return raw, pairs, counted

    raw, pairs, counted = asyncio.run(main())

    for found, expected in zip(raw, sentences.values(), strict=True):
        reference = struct.unpack("<384f", base64.b64decode(expected["float32"]))
        assert cosine(found, reference) > 0.99999
        assert math.hypot(*found) == pytest.approx(math.hypot(*reference), rel=0.01)
    assert counted == sum(expected["tokens"] for expected in sentences.values())
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-4) for vector in pairs)
    for number, (question, answer) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        others = [other for index, other in enumerate(pairs[1::2]) if index != number]
        assert cosine(question, answer) > 0.15 + max(cosine(question, other) for other in others)


@pytest.mark.slow
def test_a_text_is_read_up_to_its_last_token_and_not_one_more(
    model_cache: Path, tmp_path: Path
) -> None:
    async def main() -> tuple[tuple[int, ...], list[list[float]], str]:
        async with embedding_model(tmp_path, model_cache) as opened:
            text = "word " * 510
            tokens = DIALECT.tokenizer.tokens(await ask(opened, DIALECT.tokenizer.call(text)))
            found = await vectors(opened, [text, tokens])
            with pytest.raises(ServerFailureError) as caught:
                await vectors(opened, ["word " * 511])
            return tokens, found, DIALECT.complaint(500, caught.value.body).message

    tokens, (of_text, of_tokens), complaint = asyncio.run(main())

    assert len(tokens) == EMBEDDING_TOKENS
    assert cosine(of_text, of_tokens) == pytest.approx(1, abs=1e-6)
    assert "513 tokens" in complaint


@pytest.mark.slow
def test_chat_and_embeddings_are_children_of_their_own(model_cache: Path, tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        async with embedding_model(tmp_path, model_cache) as opened:
            await vectors(opened, ["hello"])
            return (
                embedded_status(tmp_path).state,
                embedded_status(tmp_path, "embeddings").state,
            )

    assert asyncio.run(main()) == ("not running", "ready")
    assert embedded_status(tmp_path, "embeddings").state == "not running"


def test_nothing_is_fetched_or_started_before_an_embedding_is_wanted(tmp_path: Path) -> None:
    async def main() -> str:
        settings = EmbeddedSettings(config=EmbeddedConfig(), state=tmp_path, cache=tmp_path)
        async with (
            asyncio.TaskGroup() as tasks,
            open_fleet([], settings, environ={}, tasks=tasks, clock=FakeClock()) as keeper,
        ):
            titan = keeper.fleet.stand_in(model("amazon.titan-embed-text-v2:0"))
            (pool,) = keeper.fleet.pools(EMBEDDING_MODEL_ID, ("us-east-1",), "us-east-1")
            assert pool.candidates == titan[0].candidates
            assert keeper.fleet.stand_in(model("cohere.embed-v4:0")) == titan
            assert not keeper.fleet.stand_in(model("twelvelabs.marengo-embed-3-0-v1:0"))
            return titan[0].candidates[0].served_as

    assert asyncio.run(main()) == EMBEDDING_MODEL_ID
    assert list(tmp_path.iterdir()) == []


def test_the_two_engines_differ_in_all_that_they_must() -> None:
    config = EmbeddedConfig(model_path="/models/own.gguf", slots=3)
    chat, embeddings = chat_engine(config), embedding_engine(config)

    assert (chat.folder, chat.served_as, chat.embeds) == ("embedded", "own", False)
    assert (embeddings.folder, embeddings.embeds) == ("embeddings", True)
    assert embeddings.served_as == EMBEDDING_MODEL_ID
    assert embeddings.weights == MINILM
    assert embeddings.model_path is None
    # Each slot holds the longest text.
    assert embeddings.context_tokens == 3 * EMBEDDING_TOKENS
