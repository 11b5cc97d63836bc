"""Who may call Valkey, over what, and that a password is told to nobody else."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from outcrop.counters.config import InvalidValkeyConfigError, ValkeyConfig
from outcrop.counters.limit import Hold
from outcrop.counters.valkey import open_valkey
from outcrop.server.clock import steady_clock
from tests.counters.workers import granted, per_minute
from tests.fakes.certificates import Certificates
from tests.valkey import ValkeyProcess, valkey_server

TOKENS = per_minute(10)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def hold_one(environ: dict[str, str] | None = None, **settings: Any) -> None:
    async def run() -> None:
        async with (
            asyncio.TaskGroup() as tasks,
            open_valkey(
                ValkeyConfig(**settings),
                environ or {},
                workers=1,
                clock=steady_clock(),
                tasks=tasks,
            ) as counters,
        ):
            await granted(counters, Hold(TOKENS, 1))

    try:
        asyncio.run(run())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@asynccontextmanager
async def with_tls(valkey: ValkeyProcess, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """The port of something that ends TLS in front of Valkey."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_valkey, to_valkey = await asyncio.open_unix_connection(valkey.socket)
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(pump(reader, to_valkey))
                both_ways.create_task(pump(from_valkey, writer))
        except* OSError:
            pass  # whoever does not believe us is gone
        finally:
            to_valkey.close()
            writer.close()
            relayed.append(to_valkey)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    relayed: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for writer in relayed:
        await writer.wait_closed()


def hold_one_over_tls(valkey: ValkeyProcess, context: ssl.SSLContext, **settings: Any) -> None:
    async def run() -> None:
        async with with_tls(valkey, context) as port, asyncio.TaskGroup() as tasks:
            config = ValkeyConfig(url=f"valkeys://127.0.0.1:{port}", **settings)
            async with open_valkey(
                config, {}, workers=1, clock=steady_clock(), tasks=tasks
            ) as counters:
                assert not counters._lost
                await granted(counters, Hold(TOKENS, 1))

    asyncio.run(run())


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    with valkey_server("--requirepass", "open sesame") as valkey:
        hold_one({"PASSWORD": "open sesame"}, url=valkey.url, password_env="PASSWORD")
        hold_one(url=valkey.url, password_file=str(file))


def test_a_wrong_password_is_refused_at_the_start_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with valkey_server("--requirepass", "open sesame") as valkey:
        for environ in ({"PASSWORD": "open barley"}, {"PASSWORD": "x", "OTHER": "y"}):
            with pytest.raises(InvalidValkeyConfigError) as caught:
                hold_one(environ, url=valkey.url, password_env="PASSWORD")
            assert environ["PASSWORD"] not in str(caught.value).split()
        with pytest.raises(InvalidValkeyConfigError, match="Authentication required"):
            hold_one(url=valkey.url)


def test_a_lost_valkey_is_named_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def run() -> None:
        config = ValkeyConfig(url="valkey://me:sesame@127.0.0.1:1/0")
        async with (
            asyncio.TaskGroup() as tasks,
            open_valkey(config, {}, workers=1, clock=steady_clock(), tasks=tasks),
        ):
            pass

    asyncio.run(run())

    (record,) = (record for record in caplog.records if record.name.startswith("outcrop"))
    assert vars(record)["valkey"] == "127.0.0.1:1"
    assert "sesame" not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"password_env": "NOT_SET"}, "valkey.password_env, is empty or not there"),
        ({"password_file": "/nowhere"}, "password_file /nowhere cannot be read"),
    ],
)
def test_a_password_that_is_not_where_it_should_be_is_said(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValkeyConfigError, match=message):
        hold_one(url="unix:///nowhere", **settings)


@pytest.mark.slow
def test_tls_believes_the_authority_it_is_told_to(
    valkey: ValkeyProcess, certificates: Certificates
) -> None:
    hold_one_over_tls(valkey, certificates.server(), ca_file=certificates.ca_file)


@pytest.mark.slow
@pytest.mark.parametrize("other_name", [True, False])
def test_tls_believes_no_other_authority_and_no_other_name(
    valkey: ValkeyProcess, certificates: Certificates, *, other_name: bool
) -> None:
    ca_file = {"ca_file": certificates.ca_file} if other_name else {}

    with pytest.raises(ExceptionGroup):
        hold_one_over_tls(valkey, certificates.server(other_name=other_name), **ca_file)
