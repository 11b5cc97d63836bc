"""What the App has recorded of an answer that did not end as it should."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.server.app import App
from outcrop.server.clock import utc_now
from outcrop.server.config import Config
from outcrop.server.wiring import assembled
from outcrop.store.store import open_store
from outcrop.store.usage_records import UsageRecord
from outcrop.wire.http import HttpRequest, HttpResponse
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Script,
    StallsAfter,
    delta,
    sse,
    usage,
)
from tests.server.signed import MODEL, signed

# Eight characters asked, eleven answered: 2 and 3 tokens by estimate.
BEGUN = b"data: " + sse(delta("Hello world")).split(b"data: ")[1]
WHOLE = sse(delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(9, 2))
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"text": "question"}]}],
    "requestMetadata": {"ticket": "7"},
}

Act = Callable[[App, HttpRequest], Awaitable[None]]


@asynccontextmanager
async def outcrop(state: Path, script: Script) -> AsyncGenerator[App]:
    async with FakeModelServer(script) as fake:
        server = ModelServerConfig(name="gpu", url=fake.url, models={MODEL: "m"})
        config = Config(
            state=state,
            log_level="error",
            model_servers=(server,),
            embedded=EmbeddedConfig(enabled=False),
        )
        async with assembled(config, clock=utc_now) as app:
            yield app


def recorded(state: Path, script: Script, operation: str, act: Act) -> UsageRecord:
    """The one record of a request that is answered with `script` and treated as `act` does."""

    async def main() -> list[UsageRecord]:
        async with outcrop(state, script) as app:
            await act(app, signed(state, operation, json.dumps(BODY).encode()))
        async with open_store(state / "outcrop.sqlite3", clock=utc_now) as store:
            (account_id,) = [
                row[0]
                for row in await store.usage._database.fetch("SELECT account_id FROM accounts")
            ]
            start = utc_now() - timedelta(hours=1)
            return await store.usage.records(account_id, start=start, end=utc_now())

    state.mkdir(mode=0o700, exist_ok=True)
    (found,) = asyncio.run(main())
    return found


async def read(app: App, request: HttpRequest) -> None:
    response = await app.handle(request)
    if not isinstance(response.body, bytes):
        async for _ in response.body:
            pass
        await response.body.aclose()


async def leave_after_the_first_text(app: App, request: HttpRequest) -> None:
    response = await app.handle(request)
    assert not isinstance(response.body, bytes)
    async for frame in response.body:
        if b"Hello world" in frame:
            break
    await response.body.aclose()


async def leave_unread(app: App, request: HttpRequest) -> None:
    response = await app.handle(request)
    assert not isinstance(response.body, bytes)
    await response.body.aclose()


async def leave_before_the_answer(app: App, request: HttpRequest) -> None:
    async def ask() -> HttpResponse:
        return await app.handle(request)

    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask())
        # The model server is in this loop: by then it has begun, and its beginning has been read.
        for _ in range(500):
            await asyncio.sleep(0)
        asking.cancel()


def tokens(record: UsageRecord) -> tuple[int, int, bool]:
    return record.input_tokens, record.output_tokens, record.estimated


def test_an_answer_counts_what_the_server_counted(tmp_path: Path) -> None:
    for operation in ("converse", "converse-stream"):
        found = recorded(tmp_path / operation, Answers([WHOLE]), operation, read)

        assert (found.outcome, tokens(found)) == ("success", (9, 2, False))
        assert found.request_metadata == {"ticket": "7"}


def test_a_stream_that_broke_off_counts_what_came_of_it(tmp_path: Path) -> None:
    found = recorded(tmp_path, BreaksOffAfter([BEGUN]), "converse-stream", read)

    assert (found.outcome, found.error) == ("server_error", "ModelStreamErrorException")
    assert tokens(found) == (2, 3, True)


def test_a_stream_that_its_client_left_counts_what_came_of_it(tmp_path: Path) -> None:
    script = StallsAfter([BEGUN])
    found = recorded(tmp_path, script, "converse-stream", leave_after_the_first_text)

    assert (found.outcome, found.status, tokens(found)) == ("cancelled", 200, (2, 3, True))


def test_a_stream_that_nobody_read_is_recorded(tmp_path: Path) -> None:
    found = recorded(tmp_path, StallsAfter([BEGUN]), "converse-stream", leave_unread)

    assert (found.outcome, tokens(found)) == ("cancelled", (2, 0, True))


def test_an_answer_that_its_client_did_not_wait_for_counts_what_was_generated(
    tmp_path: Path,
) -> None:
    found = recorded(tmp_path, StallsAfter([BEGUN]), "converse", leave_before_the_answer)

    assert (found.outcome, found.status, tokens(found)) == ("cancelled", 499, (2, 3, True))


def test_a_refusal_of_the_model_server_costs_nothing(tmp_path: Path) -> None:
    found = recorded(tmp_path, AnswersStatus(429), "converse", read)

    assert (found.outcome, found.cost, tokens(found)) == ("throttle", 0, (0, 0, False))
