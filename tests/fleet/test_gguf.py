import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from outcrop.fleet.gguf import Bert, InvalidWeightsError, convert

TOKENS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "rock", "##s", "ü"]
TINY = Bert(
    name="tiny",
    license="cc0",
    layers=1,
    heads=1,
    width=2,
    feed_forward_width=4,
    context_tokens=3,
)


def tensors() -> dict[str, tuple[tuple[int, ...], list[float]]]:
    """All that a BERT of one layer has; each value is one that half precision can hold."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(TOKENS), 2),
        "embeddings.position_embeddings.weight": (3, 2),
        "embeddings.token_type_embeddings.weight": (2, 2),
        "embeddings.LayerNorm.weight": (2,),
        "embeddings.LayerNorm.bias": (2,),
        "pooler.dense.weight": (2, 2),
    }
    for name, (rows, columns) in {
        "attention.self.query": (2, 2),
        "attention.self.key": (2, 2),
        "attention.self.value": (2, 2),
        "attention.output.dense": (2, 2),
        "intermediate.dense": (4, 2),
        "output.dense": (2, 4),
    }.items():
        shapes[f"encoder.layer.0.{name}.weight"] = (rows, columns)
        shapes[f"encoder.layer.0.{name}.bias"] = (rows,)
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        shapes[f"encoder.layer.0.{name}.weight"] = (2,)
        shapes[f"encoder.layer.0.{name}.bias"] = (2,)
    found: dict[str, tuple[tuple[int, ...], list[float]]] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        size = shape[0] * (shape[1] if len(shape) == 2 else 1)
        found[name] = (shape, [number + index / 64 for index in range(size)])
    return found


def written(folder: Path, dtype: str = "F32", *, without: str = "") -> tuple[Path, Path]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (shape, values) in tensors().items():
        if name == without:
            continue
        block = struct.pack(f"<{len(values)}f", *values)
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    encoded = json.dumps(header).encode()
    weights, vocabulary = folder / "model.safetensors", folder / "vocab.txt"
    weights.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    vocabulary.write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    return weights, vocabulary


class Gguf:
    """Reads a file as https://github.com/ggml-org/ggml/blob/master/docs/gguf.md says."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 4
        version, count, keys = self._next("IQQ")
        assert (content[:4], version) == (b"GGUF", 3)
        self.metadata = {self._string(): self._value(*self._next("I")) for _ in range(keys)}
        self.tensors: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for _ in range(count):
            name = self._string()
            (dimensions,) = self._next("I")
            shape = self._next("Q" * dimensions)
            kind, offset = self._next("IQ")
            self.tensors[name] = (shape, kind, offset)
        self._data = self._at + -self._at % 32

    def values(self, name: str) -> tuple[int, Sequence[float]]:
        shape, kind, offset = self.tensors[name]
        assert offset % 32 == 0
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        letter = {0: "f", 1: "e"}[kind]
        return kind, struct.unpack_from(f"<{count}{letter}", self._content, self._data + offset)

    def _next(self, letters: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{letters}", self._content, self._at)
        self._at += struct.calcsize(f"<{letters}")
        return found

    def _string(self) -> str:
        (length,) = self._next("Q")
        text = self._content[self._at : self._at + length].decode()
        self._at += length
        return text

    def _value(self, kind: int) -> Any:
        if kind == 9:
            inner, length = self._next("IQ")
            return [self._value(inner) for _ in range(length)]
        if kind == 8:
            return self._string()
        return self._next({4: "I", 5: "i", 6: "f", 7: "?"}[kind])[0]


@pytest.fixture
def converted(tmp_path: Path) -> Gguf:
    weights, vocabulary = written(tmp_path)
    convert(TINY, weights, vocabulary, tmp_path / "tiny.gguf")
    return Gguf((tmp_path / "tiny.gguf").read_bytes())


def test_the_metadata_describe_the_model(converted: Gguf) -> None:
    assert converted.metadata["general.architecture"] == "bert"
    assert converted.metadata["general.license"] == "cc0"
    assert converted.metadata["bert.block_count"] == 1
    assert converted.metadata["bert.context_length"] == 3
    assert converted.metadata["bert.embedding_length"] == 2
    assert converted.metadata["bert.attention.causal"] is False
    assert converted.metadata["bert.pooling_type"] == 1
    assert converted.metadata["bert.attention.layer_norm_epsilon"] == pytest.approx(1e-12)


def test_the_vocabulary_is_spelled_the_engines_way(converted: Gguf) -> None:
    found = converted.metadata

    assert found["tokenizer.ggml.tokens"] == [*TOKENS[:6], "▁[", "▁rock", "s", "▁ü"]
    assert found["tokenizer.ggml.token_type"] == [3, 5, 3, 3, 3, 3, 1, 1, 1, 1]
    roles = {
        role: TOKENS[found[f"tokenizer.ggml.{role}_token_id"]]
        for role in ("unknown", "seperator", "padding", "mask", "bos", "eos")
    }
    assert roles == {
        "unknown": "[UNK]",
        "seperator": "[SEP]",
        "padding": "[PAD]",
        "mask": "[MASK]",
        "bos": "[CLS]",
        "eos": "[SEP]",
    }


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [
        ("embeddings.word_embeddings.weight", "token_embd.weight", 1),
        ("embeddings.position_embeddings.weight", "position_embd.weight", 0),
        ("embeddings.token_type_embeddings.weight", "token_types.weight", 0),
        ("embeddings.LayerNorm.bias", "token_embd_norm.bias", 0),
        ("encoder.layer.0.attention.self.query.weight", "blk.0.attn_q.weight", 1),
        ("encoder.layer.0.attention.output.LayerNorm.weight", "blk.0.attn_output_norm.weight", 0),
        ("encoder.layer.0.intermediate.dense.weight", "blk.0.ffn_up.weight", 1),
        ("encoder.layer.0.output.dense.bias", "blk.0.ffn_down.bias", 0),
        ("encoder.layer.0.output.LayerNorm.bias", "blk.0.layer_output_norm.bias", 0),
    ],
)
def test_each_tensor_keeps_its_values_and_turns_its_shape_round(
    converted: Gguf, theirs: str, ours: str, kind: int
) -> None:
    shape, values = tensors()[theirs]

    assert converted.tensors[ours][0] == tuple(reversed(shape))
    assert converted.values(ours) == (kind, tuple(values))


def test_nothing_else_is_taken_over(converted: Gguf) -> None:
    assert len(converted.tensors) == len(tensors()) - 1
    assert not any("pooler" in name for name in converted.tensors)


def test_another_model_is_refused_by_the_name_of_what_is_not_there(tmp_path: Path) -> None:
    weights, vocabulary = written(tmp_path, without="encoder.layer.0.output.dense.bias")

    with pytest.raises(InvalidWeightsError, match=r"encoder\.layer\.0\.output\.dense\.bias"):
        convert(TINY, weights, vocabulary, tmp_path / "tiny.gguf")


def test_weights_of_another_precision_are_refused(tmp_path: Path) -> None:
    weights, vocabulary = written(tmp_path, "BF16")

    with pytest.raises(InvalidWeightsError):
        convert(TINY, weights, vocabulary, tmp_path / "tiny.gguf")
