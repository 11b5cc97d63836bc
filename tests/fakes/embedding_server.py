"""A server of embeddings on a real socket: a word is a token, equal texts have equal vectors."""

import asyncio
import json
import zlib
from collections.abc import Sequence
from typing import Any

from tests.fakes.connections import FakeServer, Request, read_request

CLS, SEP = 101, 102


def word_token(word: str) -> int:
    return 1000 + zlib.crc32(word.encode()) % 20000


def tokens_of(passage: str | list[int]) -> list[int]:
    if isinstance(passage, str):
        return [CLS, *map(word_token, passage.split()), SEP]
    return passage


def vector_of(passage: str | list[int], size: int) -> list[float]:
    """Of a length that is not one; a model with fewer dimensions has the first of them."""
    seed = zlib.crc32(repr(tokens_of(passage)).encode())
    return [((seed * (index + 7)) % 1999) / 500 - 2 for index in range(size)]


class FakeEmbeddingServer(FakeServer):
    def __init__(
        self, size: int = 8, *, shortens: bool = True, most_tokens: int = 512, counts: bool = True
    ) -> None:
        super().__init__()
        self._size = size
        self._shortens = shortens
        self._most_tokens = most_tokens
        self._counts = counts
        self.requests: list[Request] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            status, answer = self._answer(request)
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} So\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()

    def _answer(self, request: Request) -> tuple[int, Any]:
        asked = request.json
        if request.path == "/tokenize":
            return 200, {"tokens": tokens_of(asked["content"])}
        passages: Sequence[str | list[int]] = asked["input"]
        counts = [len(tokens_of(passage)) for passage in passages]
        if max(counts) > self._most_tokens:
            message = f"input ({max(counts)} tokens) is too large to process"
            return 500, {"error": {"code": 500, "message": message, "type": "server_error"}}
        size = asked.get("dimensions", self._size) if self._shortens else self._size
        data = [
            {"index": index, "embedding": vector_of(passage, size), "object": "embedding"}
            for index, passage in enumerate(passages)
        ]
        # Servers may answer in any order; the index says which is which.
        answer: dict[str, Any] = {"object": "list", "data": data[::-1]}
        if self._counts:
            answer["usage"] = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
        return 200, answer
