"""What the embedded children run: one for text, one for embeddings, the same engine."""

import os
from pathlib import Path

from msgspec import Struct

from outcrop.fleet.config import EmbeddedConfig
from outcrop.fleet.weights import MINILM, SMOLLM2, Weights
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, EMBEDDING_MODEL_ID

# The model's own limit. The engine reads an embedding's text in one step or not at all.
EMBEDDING_TOKENS = 512


class EmbeddedEngine(Struct, frozen=True, kw_only=True):
    """One child: a model and how it runs."""

    folder: str
    """Of the state folder, for all that its processes share."""
    served_as: str
    weights: Weights
    model_path: str | None = None
    """A file of the operator's in place of the weights."""
    embeds: bool = False
    base_path: str = ""
    """Before the paths of calls."""
    threads: int
    context_tokens: int
    slots: int


def chat_engine(config: EmbeddedConfig) -> EmbeddedEngine:
    own = config.model_path
    return EmbeddedEngine(
        folder="embedded",
        served_as=EMBEDDED_MODEL_ID if own is None else Path(own).stem,
        weights=SMOLLM2,
        model_path=own,
        base_path="/v1",
        threads=_threads(config),
        context_tokens=config.context_tokens,
        slots=config.slots,
    )


def embedding_engine(config: EmbeddedConfig) -> EmbeddedEngine:
    """Its calls name the whole path: what the engine tells of tokens is not below `/v1`."""
    return EmbeddedEngine(
        folder="embeddings",
        served_as=EMBEDDING_MODEL_ID,
        weights=MINILM,
        embeds=True,
        threads=_threads(config),
        context_tokens=EMBEDDING_TOKENS * config.slots,
        slots=config.slots,
    )


def _threads(config: EmbeddedConfig) -> int:
    # One core stays free for everything else: engine threads that wait for each other while
    # others compute fall to a twentieth of their speed.
    return config.threads or max(1, _cores() - 1)


def _cores() -> int:
    """Those this process may use, where the system tells; a container often has fewer than all."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
