"""One model on servers of several APIs: what one has no place for, another may have."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.runtime.converse import Converse
from outcrop.wire.errors import ValidationException
from tests.fakes import anthropic_streams as recorded
from tests.fakes.model_server import Answers, AnswersStatus, FakeModelServer, Script, delta, sse
from tests.runtime.requests import converse_request, invocation
from tests.runtime.served import converse_over

OPENAI_SAYS = Answers([sse(delta("openai"), delta(finish_reason="stop"))])
ANTHROPIC_SAYS = Answers([recorded.HELLO])


@asynccontextmanager
async def converse_on(**urls: str) -> AsyncGenerator[Converse]:
    """By the dialects they speak; of two, the first is asked first."""
    servers = [
        ModelServer(dialect, Address.parse(url), timeouts=TimeoutsConfig(), weight=10.0**-number)
        for number, (dialect, url) in enumerate(urls.items())
    ]
    candidates = [
        Candidate(
            server=server,
            dialect=server.name,
            served_as="m",
            region=None,
            capabilities=Capabilities(documents=server.name != "openai"),
        )
        for server in servers
    ]
    async with converse_over(servers, candidates) as converse:
        yield converse


def asked_of_each(*content: Any, openai: Script, anthropic: Script) -> tuple[int, int]:
    """How often each was asked."""

    async def main() -> tuple[int, int]:
        async with (
            FakeModelServer(openai) as first,
            FakeModelServer(anthropic) as second,
            converse_on(openai=first.url, anthropic=second.url) as converse,
        ):
            messages = [{"role": "user", "content": [{"text": "?"}, *content]}]
            try:
                await converse.converse(invocation(), converse_request(messages=messages))
            finally:
                asked = len(first.requests), len(second.requests)
            return asked

    return asyncio.run(main())


def document(**members: Any) -> Any:
    return {"document": {"name": "d", "format": "txt", "source": {"text": "x"}, **members}}


def test_what_one_api_has_no_place_for_goes_to_a_server_of_another() -> None:
    cited = document(citations={"enabled": True})

    assert asked_of_each(cited, openai=OPENAI_SAYS, anthropic=ANTHROPIC_SAYS) == (0, 1)


def test_what_no_api_has_a_place_for_is_refused_in_the_words_of_the_first() -> None:
    video = {"video": {"format": "mp4", "source": {"bytes": "aGk="}}}

    with pytest.raises(ValidationException, match="video field for user messages"):
        asked_of_each(video, openai=OPENAI_SAYS, anthropic=ANTHROPIC_SAYS)


def test_a_file_that_one_cannot_read_goes_to_a_server_that_can() -> None:
    broken = document(format="pdf", source={"bytes": "aGk="})

    assert asked_of_each(broken, openai=OPENAI_SAYS, anthropic=ANTHROPIC_SAYS) == (0, 1)


def test_the_failure_of_the_only_server_that_could_is_what_the_caller_sees() -> None:
    cited = document(citations={"enabled": True})

    with pytest.raises(ValidationException, match="The model returned the following errors"):
        asked_of_each(cited, openai=OPENAI_SAYS, anthropic=AnswersStatus(400))
