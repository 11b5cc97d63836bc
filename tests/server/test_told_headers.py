"""What answers say of their own way, refusals too."""

import asyncio
from pathlib import Path

from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.server.app import LONGEST_SKIPPED, SKIPPED, _with_skipped
from outcrop.server.clock import utc_now
from outcrop.server.config import Config
from outcrop.server.wiring import assembled
from outcrop.wire.http import HttpResponse
from tests.fakes.model_server import url_that_refuses
from tests.runtime.requests import invocation
from tests.server.signed import MODEL, signed


def test_what_was_skipped_is_told_in_ascii_and_in_bounds() -> None:
    made = invocation()
    made.skipped += ["gpu-ü: timed out"] * 100

    headers = _with_skipped(HttpResponse(status=200, headers={}), made).headers

    assert headers[SKIPPED].startswith("gpu-?: timed out, gpu-?: timed out")
    assert len(headers[SKIPPED]) == LONGEST_SKIPPED


def test_nothing_is_told_when_nobody_was_skipped() -> None:
    assert _with_skipped(HttpResponse(status=200, headers={}), invocation()).headers == {}


def test_a_refusal_says_who_was_asked_in_vain(tmp_path: Path) -> None:
    servers = tuple(
        ModelServerConfig(name=name, url=url_that_refuses(), models={MODEL: "m"})
        for name in ("gpu-1", "gpu-2")
    )
    config = Config(
        state=tmp_path / "state",
        log_level="error",
        model_servers=servers,
        embedded=EmbeddedConfig(enabled=False),
    )
    body = b'{"messages":[{"role":"user","content":[{"text":"hello"}]}]}'

    async def main() -> HttpResponse:
        async with assembled(config, clock=utc_now) as app:
            return await app.handle(signed(config.state, "converse", body))

    config.state.mkdir(mode=0o700)
    answer = asyncio.run(main())

    assert answer.status == 503
    assert answer.headers[SKIPPED] in {"gpu-1: refused", "gpu-2: refused"}
