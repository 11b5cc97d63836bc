"""A BERT encoder from safetensors, as its publisher ships it, to GGUF, as the engine reads it.

Formats: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and
https://huggingface.co/docs/safetensors. A process of its own: millions of numbers would hold up
every request of the server.
"""

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

COMMAND = (sys.executable, "-m", "outcrop.fleet.gguf")

_ALIGNMENT = 32
_VERSION = 3
_F32, _F16 = 0, 1
# Converted at a time: little memory, and few calls.
_BLOCK_VALUES = 1 << 15

_ORDINARY, _CONTROL, _UNUSED = 1, 3, 5
_SPECIAL_TOKENS = {
    "unknown": "[UNK]",
    # The engine's own spelling.
    "seperator": "[SEP]",
    "padding": "[PAD]",
    "mask": "[MASK]",
    "bos": "[CLS]",
    "eos": "[SEP]",
}

_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# The engine adds these two without multiplying: it wants them whole.
_ALWAYS_WHOLE = {"position_embd.weight", "token_types.weight"}


class Bert(Struct, frozen=True, kw_only=True):
    """What the weights do not say of themselves."""

    name: str
    license: str
    layers: int
    heads: int
    width: int
    feed_forward_width: int
    context_tokens: int
    norm_epsilon: float = 1e-12


MINILM = Bert(
    name="all-MiniLM-L6-v2",
    license="apache-2.0",
    layers=6,
    heads=12,
    width=384,
    feed_forward_width=1536,
    context_tokens=512,
)


class InvalidWeightsError(Exception):
    """The safetensors file is not of the expected model."""


class _Stored(Struct, frozen=True):
    """One tensor as the safetensors header describes it."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Tensor(Struct, frozen=True, kw_only=True):
    name: str
    shape: tuple[int, ...]
    begin: int
    values: int

    @property
    def kind(self) -> int:
        half = len(self.shape) == 2 and self.name not in _ALWAYS_WHOLE
        return _F16 if half else _F32

    @property
    def size_bytes(self) -> int:
        return self.values * (2 if self.kind == _F16 else 4)


def convert(model: Bert, weights: Path, vocabulary: Path, target: Path) -> None:
    """Matrices are kept at half precision: half the memory, the same vectors to five digits."""
    metadata = list(_metadata(model, _tokens(vocabulary)))
    with weights.open("rb") as source, target.open("wb") as file:
        tensors = list(_tensors(model, source))
        file.write(_head(metadata, tensors))
        for tensor in tensors:
            _pad(file)
            for block in _blocks(tensor, source):
                file.write(block)
        _pad(file)


def _tokens(vocabulary: Path) -> list[str]:
    return vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _tensors(model: Bert, source: BinaryIO) -> Iterator[_Tensor]:
    stored, data = _header(source)
    for theirs, ours in _names(model.layers).items():
        found = stored.get(theirs)
        if found is None or found.dtype != "F32":
            raise InvalidWeightsError(f"no 32 bit tensor {theirs}")
        begin, end = found.data_offsets
        yield _Tensor(name=ours, shape=found.shape, begin=data + begin, values=(end - begin) // 4)


def _header(source: BinaryIO) -> tuple[Mapping[str, _Stored], int]:
    """What is in the file, and where its data begin."""
    (length,) = struct.unpack("<Q", source.read(8))
    entries = msgspec.json.decode(source.read(length), type=dict[str, msgspec.Raw])
    entries.pop("__metadata__", None)
    stored = {name: msgspec.json.decode(raw, type=_Stored) for name, raw in entries.items()}
    return stored, 8 + length


def _names(layers: int) -> dict[str, str]:
    """The publisher's name of each tensor, and the engine's."""
    in_layers = {
        f"encoder.layer.{layer}.{theirs}.{part}": f"blk.{layer}.{ours}.{part}"
        for layer in range(layers)
        for theirs, ours in _LAYER.items()
        for part in ("weight", "bias")
    }
    return {**_EMBEDDINGS, **in_layers}


def _blocks(tensor: _Tensor, source: BinaryIO) -> Iterator[bytes]:
    source.seek(tensor.begin)
    for start in range(0, tensor.values, _BLOCK_VALUES):
        count = min(_BLOCK_VALUES, tensor.values - start)
        block = source.read(4 * count)
        if tensor.kind == _F16:
            block = struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", block))
        yield block


def _head(metadata: Sequence[bytes], tensors: Sequence[_Tensor]) -> bytes:
    counts = struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))
    return b"".join([b"GGUF", counts, *metadata, *_table(tensors)])


def _table(tensors: Sequence[_Tensor]) -> Iterator[bytes]:
    offset = 0
    for tensor in tensors:
        # The innermost dimension first, the other way round than in safetensors.
        shape = struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
        place = struct.pack("<IQ", tensor.kind, offset)
        yield _string(tensor.name) + struct.pack("<I", len(tensor.shape)) + shape + place
        offset += tensor.size_bytes + -tensor.size_bytes % _ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))


def _metadata(model: Bert, tokens: Sequence[str]) -> Iterator[bytes]:
    yield _text("general.architecture", "bert")
    yield _text("general.name", model.name)
    yield _text("general.license", model.license)
    yield _number("general.alignment", _ALIGNMENT)
    yield _number("general.file_type", _F16)
    yield _number("bert.block_count", model.layers)
    yield _number("bert.context_length", model.context_tokens)
    yield _number("bert.embedding_length", model.width)
    yield _number("bert.feed_forward_length", model.feed_forward_width)
    yield _number("bert.attention.head_count", model.heads)
    yield _float("bert.attention.layer_norm_epsilon", model.norm_epsilon)
    yield _flag("bert.attention.causal", value=False)
    # A text's vector is the mean of its tokens'.
    yield _number("bert.pooling_type", 1)
    yield from _tokenizer(tokens)


def _tokenizer(tokens: Sequence[str]) -> Iterator[bytes]:
    yield _text("tokenizer.ggml.model", "bert")
    yield _texts("tokenizer.ggml.tokens", [_piece(token) for token in tokens])
    yield _numbers("tokenizer.ggml.token_type", [_kind(token) for token in tokens])
    yield _number("tokenizer.ggml.token_type_count", 2)
    for role, token in _SPECIAL_TOKENS.items():
        yield _number(f"tokenizer.ggml.{role}_token_id", tokens.index(token))


def _piece(token: str) -> str:
    """The engine marks where a word begins, the publisher where it goes on."""
    if _kind(token) != _ORDINARY:
        return token
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _kind(token: str) -> int:
    if token.startswith("[unused"):
        return _UNUSED
    named = token.startswith("[") and token.endswith("]") and len(token) > 2
    return _CONTROL if named else _ORDINARY


# A value of the metadata: its key, the number of its type, itself.


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _number(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", 4, value)


def _float(key: str, value: float) -> bytes:
    return _string(key) + struct.pack("<If", 6, value)


def _flag(key: str, *, value: bool) -> bytes:
    return _string(key) + struct.pack("<I?", 7, value)


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", 8) + _string(value)


def _texts(key: str, values: Sequence[str]) -> bytes:
    return _string(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(_string, values))


def _numbers(key: str, values: Sequence[int]) -> bytes:
    head = struct.pack("<IIQ", 9, 5, len(values))
    return _string(key) + head + struct.pack(f"<{len(values)}i", *values)


if __name__ == "__main__":
    convert(MINILM, *map(Path, sys.argv[1:]))
