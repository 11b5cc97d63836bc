import asyncio
import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from string import ascii_lowercase
from typing import Any, NamedTuple

import pytest

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Router
from outcrop.runtime.dialects.bedrock_invoke import input_tokens
from outcrop.runtime.embeddings import Embeddings
from outcrop.runtime.families.embedding_table import embedding_family_of
from outcrop.runtime.families.family import Invocation
from outcrop.runtime.target import Target, Targets
from outcrop.store.catalogue import Catalogue
from outcrop.wire.errors import (
    AccessDeniedException,
    AwsError,
    ModelErrorException,
    ModelTimeoutException,
    ServiceUnavailableException,
    ValidationException,
)
from tests.fakes.connections import Request
from tests.fakes.embedding_server import CLS, SEP, FakeEmbeddingServer, vector_of, word_token
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    FakeModelServer,
    Script,
    StallsBeforeTheFirstByte,
    url_that_refuses,
)
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.admitting import unlimited
from tests.runtime.requests import caller, invocation

V1 = "amazon.titan-embed-text-v1"
V2 = "amazon.titan-embed-text-v2:0"
COHERE3 = "cohere.embed-english-v3"
COHERE4 = "cohere.embed-v4:0"
IMPATIENT = TimeoutsConfig(connect_s=1, first_byte_s=0.05, between_chunks_s=0.05)
# Two letters each: Cohere takes 2,048 characters.
WORDS = [one + other for one in ascii_lowercase for other in ascii_lowercase][:600]


def candidate(number: int, url: str, dialect: str) -> Candidate:
    address = Address.parse(url)
    # Of two, the first is asked first.
    server = ModelServer(f"gpu-{number}", address, timeouts=IMPATIENT, weight=10.0**-number)
    return Candidate(server=server, dialect=dialect, served_as="bge-m3", region=None)


async def target_of(model_id: str, candidates: Sequence[Candidate], *, stands_in: bool) -> Target:
    targets = Targets(
        Catalogue(), Fleet([], None), FakeInferenceProfiles(), FakeProvisionedModelThroughputs()
    )
    resolved = await targets.resolve(caller(), model_id)
    return Target(
        model_id=model_id,
        foundation_model=resolved.foundation_model,
        regions=resolved.regions,
        pools=(pools := (Pool.of(candidates),)),
        pools_now=lambda: pools,
        stands_in=stands_in,
    )


class Told(NamedTuple):
    body: bytes
    input_tokens: int | None
    served_by: str | None


class Asking:
    """One Embeddings and the servers behind it."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._embeddings = Embeddings(unlimited(), Router())

    async def invoke(self, model_id: str, *, stands_in: bool = False, **body: Any) -> Told:
        target = await target_of(model_id, self._candidates, stands_in=stands_in)
        family = embedding_family_of(model_id)
        assert family is not None
        native = Invocation(
            model_id=model_id,
            foundation_model_id=model_id,
            body=json.dumps(body).encode(),
            invocation_id="0d5ec2a5",
            created=0,
        )
        asked = invocation()
        answer = await self._embeddings.invoke(asked, target, family, native)
        return Told(answer.body, answer.input_tokens, asked.served_by)


def asking(*urls: str, dialect: str = "openai") -> AbstractAsyncContextManager[Asking]:
    return mixed(*((dialect, url) for url in urls))


@asynccontextmanager
async def mixed(*servers: tuple[str, str]) -> AsyncGenerator[Asking]:
    """Servers by dialect and URL."""
    candidates = [candidate(number, url, dialect) for number, (dialect, url) in enumerate(servers)]
    try:
        yield Asking(candidates)
    finally:
        for found in candidates:
            assert isinstance(found.server, ModelServer)
            await found.server.aclose()


def embedded(
    fake: FakeEmbeddingServer, model_id: str, dialect: str = "openai", **body: Any
) -> tuple[Told, Any, list[Request]]:
    """The answer, read, and what the server was asked."""

    async def main() -> Told:
        async with fake, asking(fake.url, dialect=dialect) as client:
            return await client.invoke(model_id, **body)

    answer = asyncio.run(main())
    return answer, json.loads(answer.body), fake.requests


def failure(script: Script) -> AwsError:
    async def main() -> Told:
        async with FakeModelServer(script) as fake, asking(fake.url) as client:
            return await client.invoke(V2, inputText="a")

    with pytest.raises(AwsError) as caught:
        asyncio.run(main())
    return caught.value


def unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [component / length for component in vector]


def test_a_text_becomes_a_vector_of_unit_length_with_zeros_up_to_the_dimensions() -> None:
    answer, body, requests = embedded(FakeEmbeddingServer(8), V2, inputText="a b")

    assert body["embedding"] == pytest.approx([*unit(vector_of("a b", 8)), *[0.0] * 1016])
    assert body["inputTextTokenCount"] == answer.input_tokens == 4
    assert answer.served_by == 'gpu-0; model="bge-m3"'
    assert [request.json for request in requests] == [{"model": "bge-m3", "input": ["a b"]}]


@pytest.mark.parametrize(
    ("model_id", "body"),
    [(V1, {"inputText": "a"}), (V2, {"inputText": "a", "normalize": False})],
)
def test_vectors_that_nobody_wants_normalised_stay_as_they_are(
    model_id: str, body: dict[str, Any]
) -> None:
    _, answer, _ = embedded(FakeEmbeddingServer(8), model_id, **body)

    assert answer["embedding"][:8] == vector_of("a", 8)
    assert not any(answer["embedding"][8:])


def test_a_batch_is_one_call_and_comes_back_in_its_order() -> None:
    texts = [f"text {number}" for number in range(96)]

    answer, body, requests = embedded(
        FakeEmbeddingServer(8), COHERE3, input_type="search_document", texts=texts
    )

    assert [vector[:8] for vector in body["embeddings"]] == [
        pytest.approx(unit(vector_of(text, 8))) for text in texts
    ]
    assert len(requests) == 1
    assert answer.input_tokens == 96 * 4


def test_a_server_with_more_dimensions_is_asked_for_fewer_and_at_once_from_then_on() -> None:
    fake = FakeEmbeddingServer(1024)

    async def main() -> list[Told]:
        async with fake, asking(f"{fake.url}/v1") as client:
            return [
                await client.invoke(V2, inputText="a", dimensions=dimensions)
                for dimensions in (256, 512, 1024)
            ]

    answers = asyncio.run(main())

    sizes = [len(json.loads(answer.body)["embedding"]) for answer in answers]
    asked = [request.json.get("dimensions") for request in fake.requests]
    assert sizes == [256, 512, 1024]
    assert asked == [None, 256, 512, None]


def test_requests_that_learn_of_a_servers_dimensions_together_do_not_disturb_each_other() -> None:
    fake = FakeEmbeddingServer(1024)

    async def main() -> list[Told]:
        async with fake, asking(f"{fake.url}/v1") as client, asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(client.invoke(V2, inputText="a", dimensions=dimensions))
                for dimensions in (256, 512, 256, 1024)
            ]
            return [await task for task in asked]

    answers = asyncio.run(main())

    sizes = [len(json.loads(answer.body)["embedding"]) for answer in answers]
    assert sizes == [256, 512, 256, 1024]


@pytest.mark.parametrize("dialect", ["openai", "embedded"])
def test_dimensions_that_a_model_cannot_leave_out_are_refused(dialect: str) -> None:
    fake = FakeEmbeddingServer(384, shortens=False)

    with pytest.raises(ValidationException) as caught:
        embedded(fake, V2, dialect, inputText="a", dimensions=256)

    assert "bge-m3 answers with 384 dimensions and cannot be asked for 256" in caught.value.message


def test_a_text_that_is_too_long_is_refused_with_the_count_of_its_tokens() -> None:
    with pytest.raises(ValidationException) as caught:
        embedded(FakeEmbeddingServer(), V2, "embedded", inputText=" ".join(WORDS))

    assert caught.value.message == (
        "400 Bad Request: Too many input tokens. Max input tokens: 512, request input token"
        " count: 602 "
    )


@pytest.mark.parametrize(
    ("truncate", "kept"), [("END", WORDS[:510]), ("START", WORDS[90:])], ids=["END", "START"]
)
def test_a_text_that_may_be_cut_is_cut_to_the_last_token_that_fits(
    truncate: str, kept: list[str]
) -> None:
    texts = ["short", " ".join(WORDS)]

    _, body, requests = embedded(
        FakeEmbeddingServer(8),
        COHERE3,
        "embedded",
        input_type="search_document",
        texts=texts,
        truncate=truncate,
    )

    tokens = [CLS, *map(word_token, kept), SEP]
    assert requests[-1].json["input"] == ["short", tokens]
    assert body["embeddings"][1][:8] == pytest.approx(unit(vector_of(tokens, 8)))
    assert body["texts"] == texts


def test_fewer_tokens_than_the_model_reads_can_be_wanted() -> None:
    options: dict[str, Any] = {"input_type": "clustering", "texts": ["a b c d"]}
    server = FakeEmbeddingServer

    _, _, requests = embedded(
        server(8), COHERE4, "embedded", **options, truncate="LEFT", max_tokens=4
    )
    assert requests[-1].json["input"] == [[CLS, word_token("c"), word_token("d"), SEP]]
    _, _, requests = embedded(server(8), COHERE4, "embedded", **options, max_tokens=6)
    assert requests[-1].json["input"] == ["a b c d"]
    with pytest.raises(ValidationException, match="a text has 6, at most 4 are allowed"):
        embedded(server(8), COHERE4, "embedded", **options, max_tokens=4)


def test_tokens_are_not_counted_where_nobody_can() -> None:
    options: dict[str, Any] = {"input_type": "clustering", "texts": ["a b c d"]}

    _, _, requests = embedded(FakeEmbeddingServer(8), COHERE4, **options, max_tokens=128_000)
    assert requests[-1].json["input"] == ["a b c d"]
    with pytest.raises(ValidationException, match="max_tokens is not supported"):
        embedded(FakeEmbeddingServer(8), COHERE4, **options, max_tokens=4, truncate="RIGHT")


def test_a_server_that_does_not_count_is_not_made_to() -> None:
    answer, body, _ = embedded(FakeEmbeddingServer(counts=False), V1, inputText="a")

    assert answer.input_tokens is None
    assert "inputTextTokenCount" not in body


def test_the_next_server_answers_for_one_that_is_gone() -> None:
    async def main() -> Told:
        async with (
            FakeEmbeddingServer() as fake,
            asking(url_that_refuses(), f"{fake.url}/v1") as client,
        ):
            return await client.invoke(V2, stands_in=True, inputText="a")

    answer = asyncio.run(main())

    assert answer.served_by == f'gpu-1; model="bge-m3"; stands-in-for="{V2}"'


def test_nobody_who_can_embed_is_nobody_at_all() -> None:
    async def main() -> Told:
        async with asking(url_that_refuses(), dialect="anthropic") as client:
            return await client.invoke(V2, inputText="a")

    with pytest.raises(AccessDeniedException):
        asyncio.run(main())


def test_amazon_itself_gets_the_body_as_it_came_and_its_answer_goes_back_as_it_is() -> None:
    told = b'{"embedding":[0.5],"embeddingsByType":{"float":[0.5]},"inputTextTokenCount":3}'

    async def main() -> tuple[Told, list[Request]]:
        async with (
            FakeModelServer(Answers([told])) as fake,
            asking(fake.url.removesuffix("/v1"), dialect="bedrock") as client,
        ):
            return await client.invoke(V2, inputText="a", dimensions=256), fake.requests

    answer, (request,) = asyncio.run(main())

    assert request.path == "/model/bge-m3/invoke"
    assert request.json == {"inputText": "a", "dimensions": 256}
    assert (answer.body, answer.input_tokens) == (told, 3)
    assert answer.served_by == 'gpu-0; model="bge-m3"'


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"embeddings":[]}'])
def test_an_answer_of_amazons_that_counts_nothing_is_passed_on_all_the_same(body: bytes) -> None:
    assert input_tokens(body) is None


def test_a_server_of_ones_own_answers_when_amazon_does_not_and_the_other_way_round() -> None:
    told = b'{"embedding":[0.5]}'

    async def main() -> list[Told]:
        async with (
            FakeModelServer(Answers([told])) as amazon,
            FakeEmbeddingServer() as own,
            mixed(("bedrock", url_that_refuses()), ("openai", own.url)) as first,
            mixed(("openai", url_that_refuses()), ("bedrock", amazon.url)) as second,
        ):
            return [await client.invoke(V1, inputText="a") for client in (first, second)]

    of_own, of_amazon = asyncio.run(main())

    assert len(json.loads(of_own.body)["embedding"]) == 1536
    assert (of_amazon.body, of_amazon.input_tokens) == (told, None)


def test_what_amazon_refuses_is_refused_in_its_words_and_nobody_else_is_asked() -> None:
    async def main() -> list[Request]:
        refusing = AnswersStatus(400, b'{"message":"Malformed input request: no."}')
        async with (
            FakeModelServer(refusing) as amazon,
            FakeEmbeddingServer() as own,
            mixed(("bedrock", amazon.url), ("openai", own.url)) as client,
        ):
            with pytest.raises(ValidationException, match=r"^Malformed input request: no\.$"):
                await client.invoke(V1, inputText="a")
            return own.requests

    assert asyncio.run(main()) == []


def test_what_goes_wrong_on_the_server_has_the_name_that_users_know() -> None:
    refusal = failure(AnswersStatus(400, b'{"error":{"message":"no matryoshka"}}'))

    assert isinstance(refusal, ValidationException)
    assert refusal.message == "The model returned the following errors: no matryoshka"
    assert isinstance(failure(AnswersStatus(500)), ModelErrorException)
    assert isinstance(failure(AnswersStatus(503)), ServiceUnavailableException)
    assert isinstance(failure(Answers([b"rubbish"])), ModelErrorException)
    assert isinstance(failure(StallsBeforeTheFirstByte()), ModelTimeoutException)


def test_a_busy_server_tells_when_to_ask_again() -> None:
    error = failure(AnswersStatus(429, b"{}", {"retry-after": "7"}))

    assert (error.name, error.retry_after_s) == ("ThrottlingException", 7)
