"""What is wrong with an installation, and how to mend it: `outcrop doctor`."""

import asyncio
import importlib.util
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from outcrop.control.room import FleetRoom
from outcrop.fleet.config import InvalidFleetConfigError
from outcrop.fleet.embedded_folder import embedded_status
from outcrop.fleet.fleet_keeper import check_servers
from outcrop.fleet.weights import ALL, MINILM, Weights
from outcrop.iam.access_keys import (
    RootAccessKey,
    RootAccessKeyError,
    exposed_paths,
    read_root_access_key,
)
from outcrop.server.build import version_text
from outcrop.server.certificates import WARN_AHEAD, check_certificate
from outcrop.server.config import Config, ConfigurationError, load_config
from outcrop.server.configured_units import configured_units, units_sold
from outcrop.server.endpoint import Endpoint, read_endpoint
from outcrop.server.finding import Finding
from outcrop.server.model_server_check import examine_model_server
from outcrop.server.probe import ProbeFailedError, ask_inference_profiles, port_is_free
from outcrop.server.tls import context_of, local_ca_key_file, tls_files
from outcrop.store.catalogue import Catalogue
from outcrop.store.database import Database
from outcrop.store.errors import StoreError
from outcrop.store.migrations import MIGRATIONS
from outcrop.store.postgres import open_postgres
from outcrop.store.sqlite_file import OLDEST, open_sqlite
from outcrop.wire.timestamps import Clock

CONNECT_S = 3.0
TESTED = ((3, 11), (3, 12), (3, 13))
"""Versions of Python, on Linux and x86-64."""


def examine(
    *, config_path: Path | None, state: Path | None, url: str | None, clock: Clock
) -> Iterator[Finding]:
    """One finding after another, each as soon as it is known."""
    yield from _software()
    overrides = {} if state is None else {"state": state}
    try:
        config = load_config(config_path, overrides)
    except ConfigurationError as error:
        yield Finding(str(error), "correct that key; docs/configuration.md lists all of them")
        config = load_config(None, overrides)
    else:
        yield Finding(f"configuration {config_path or '(none: the defaults)'} can be used")
    for examined in (_state, partial(_tls, clock=clock), _database, _written, _embedded):
        yield from _permitted(examined(config))
    yield from _agreement(config)
    yield from _permitted(_capacity(config))
    for server in config.model_servers:
        yield from examine_model_server(server, os.environ)
    yield from _permitted(_server(config, url, clock))


def _permitted(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Up to the first file that belongs to somebody else."""
    try:
        yield from findings
    except PermissionError as error:
        yield Finding(
            f"{error.filename} cannot be read by this user",
            "run `outcrop doctor` as the user that runs `outcrop serve`",
        )


def _agreement(config: Config) -> Iterator[Finding]:
    try:
        check_servers(config.model_servers, Catalogue(custom_models=config.custom_models))
    except InvalidFleetConfigError as error:
        yield Finding(str(error), "correct model_servers: `outcrop serve` refuses them")


def _capacity(config: Config) -> Iterator[Finding]:
    """Whether what is sold is there."""
    try:
        units = configured_units(config)
    except (InvalidFleetConfigError, ConfigurationError) as error:
        yield Finding(str(error), "correct model_units: `outcrop serve` refuses them")
        return
    room = FleetRoom(units, custom_models=config.custom_models)
    try:
        held = asyncio.run(units_sold(config))
    except StoreError:
        # Said of the database already.
        return
    for sentence in room.oversold(held):
        yield Finding(
            sentence,
            "add model servers, correct their model_units, or delete provisioned models:"
            " nothing more is sold meanwhile",
        )


def _software() -> Iterator[Finding]:
    names = ("granian", "msgspec", "uvloop")
    yield Finding(
        f"Python {_python()}, outcrop {version_text()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )
    oldest = ".".join(map(str, OLDEST))
    yield Finding(
        f"SQLite {sqlite3.sqlite_version}",
        ""
        if sqlite3.sqlite_version_info >= OLDEST
        else f"use a Python built with SQLite {oldest} or newer, or set database_url",
    )


def _python() -> str:
    release, system, machine = platform.python_version(), platform.system(), platform.machine()
    tested = sys.version_info[:2] in TESTED and (system, machine) == ("Linux", "x86_64")
    untested = "" if tested else " (not tested there: see docs/operations.md)"
    return f"{release} on {system} {machine}{untested}"


def _state(config: Config) -> Iterator[Finding]:
    state = config.state
    if not state.exists():
        yield Finding(f"state folder {state} is not there yet: the first `outcrop serve` makes it")
        return
    if not (state.is_dir() and os.access(state, os.R_OK | os.W_OK | os.X_OK)):
        yield Finding(
            f"state folder {state} cannot be written by this user",
            f"make it a folder of this user (chown), or take another with --state {state}-2",
        )
        return
    yield Finding(f"state folder {state} can be written")
    for path in exposed_paths(state):
        mode = "700" if path.is_dir() else "600"
        yield Finding(f"{path} can be read by other users", f"chmod {mode} {path}")
    yield _credentials(state)


def _tls(config: Config, clock: Clock) -> Iterator[Finding]:
    if not config.tls.serves:
        return
    files = tls_files(config)
    mend = "outcrop tls" if config.tls.local else "correct that file, then restart or send SIGHUP"
    if config.tls.local and not files.certificate.exists():
        yield Finding("the local certificate is not there yet: the first `outcrop serve` makes it")
        return
    now = clock()
    try:
        certificate = check_certificate(files, now)
        context_of(config, clock)
    except ConfigurationError as error:
        yield Finding(str(error), mend)
        return
    days = (certificate.not_after - now).days
    yield Finding(
        f"certificate {files.certificate} ends in {days} days, at {certificate.not_after:%Y-%m-%d}",
        "" if certificate.not_after - now > WARN_AHEAD else _RENEW[config.tls.local],
    )
    for path in {files.key, local_ca_key_file(config.state)}:
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding(f"{path} can be read by other users", f"chmod 600 {path}")


_RENEW = {
    True: "outcrop tls, then send the server SIGHUP (kill -HUP, systemctl reload)",
    False: "put a new one in its place, then send the server SIGHUP (kill -HUP, systemctl reload)",
}


def _credentials(state: Path) -> Finding:
    try:
        key = read_root_access_key(state)
    except RootAccessKeyError as error:
        return Finding(str(error), "outcrop serve")
    return Finding(f"root access key of account {key.account_id} is in {state}")


def _database(config: Config) -> Iterator[Finding]:
    if config.database_url is None and not config.sqlite_path.exists():
        yield Finding(f"database {config.sqlite_path} is not there yet")
        return
    where, opened, mend = _engine_of(config)
    try:
        yield _schema(where, asyncio.run(_schema_version(opened)))
    except StoreError as error:
        said = str(error).removeprefix("PostgreSQL: ").removeprefix(f"{config.sqlite_path}: ")
        yield Finding(f"{where}: {said}", mend)


def _engine_of(config: Config) -> tuple[str, AbstractAsyncContextManager[Database], str]:
    if config.database_url is None:
        path = config.sqlite_path
        mend = "restore it from a backup, or move it away to begin anew"
        return f"database {path}", open_sqlite(path), mend
    # Never the whole URL: it may hold a password.
    where = f"PostgreSQL at {_host_of(config.database_url)}"
    mend = "check database_url, and that `outcrop serve` has made its tables there once"
    return where, open_postgres(config.database_url), mend


def _host_of(database_url: str) -> str:
    """A name, an address, or the folder of a socket; libpq looks for it there, too."""
    url = urlsplit(database_url)
    named = parse_qs(url.query).get("host", [os.environ.get("PGHOST", "this machine's socket")])
    return url.hostname or named[0]


async def _schema_version(opened: AbstractAsyncContextManager[Database]) -> int:
    async with opened as database:
        rows = await database.fetch("SELECT version FROM schema_version")
    return int(rows[0][0]) if rows else 0


def _schema(where: str, schema: int) -> Finding:
    if schema > len(MIGRATIONS):
        return Finding(
            f"{where} has schema {schema}, newer than this Outcrop's {len(MIGRATIONS)}",
            "run the version that was here before, or a newer one",
        )
    return Finding(f"{where} answers (schema {schema} of {len(MIGRATIONS)})")


def _written(config: Config) -> Iterator[Finding]:
    """Where the configuration has something written outside the state folder."""
    audit, logging = config.audit.file, config.invocation_logging
    for key, folder in (
        ("audit.file", audit and audit.parent),
        ("invocation_logging.folder", logging.folder),
        ("invocation_logging.cloudwatch_folder", logging.cloudwatch_folder),
    ):
        if folder is not None and not _can_be_written(folder):
            mend = "make it a folder of the user that runs `outcrop serve`, or name another"
            yield Finding(f"{key}: {folder} cannot be written", mend)


def _can_be_written(folder: Path) -> bool:
    """Or made, in the nearest folder above it that is there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _embedded(config: Config) -> Iterator[Finding]:
    if not config.embedded.enabled:
        yield Finding("embedded model is turned off")
        return
    yield _engine()
    own = config.embedded.model_path
    if own is not None:
        yield Finding(
            f"embedded.model_path = {own}",
            "" if Path(own).is_file() else "there is no such file: correct the path",
        )
    for weights in ALL if own is None else (MINILM,):
        yield _weights(weights, config.cache)
    if config.state.exists():
        yield from _children(config.state)


def _children(state: Path) -> Iterator[Finding]:
    for folder, what in (
        ("embedded", "embedded model"),
        ("embeddings", "embedded embedding model"),
    ):
        status = embedded_status(state, folder)
        if status.state == "failing":
            yield Finding(f"{what} fails: {status.detail}", f"see {folder}/worker.log there")
        elif status.state != "not running":
            yield Finding(f"{what} is {status.state}")


def _engine() -> Finding:
    if importlib.util.find_spec("xllamacpp") is None:
        return Finding("the embedded engine is not installed", "pip install xllamacpp")
    # In a process of its own: a library that fits badly may end the process that loads it.
    tried = subprocess.run(
        [sys.executable, "-c", "import xllamacpp"], check=False, capture_output=True, text=True
    )
    if tried.returncode == 0:
        return Finding(f"embedded engine xllamacpp {version('xllamacpp')} loads")
    last = tried.stderr.strip().rpartition("\n")[2] or f"ended with {tried.returncode}"
    mend = (
        "install the OpenMP runtime: apt-get install libgomp1, or dnf install libgomp"
        if "libgomp" in last
        else "pip install --force-reinstall xllamacpp, or set embedded.enabled = false"
    )
    return Finding(f"the embedded engine does not load: {last}", mend)


def _weights(weights: Weights, cache: Path) -> Finding:
    if weights.are_in(cache):
        return Finding(f"weights of {weights.name} are in {cache}")
    return Finding(
        f"weights of {weights.name} are not here yet: first use fetches them,"
        " or `outcrop models pull` now"
    )


def _server(config: Config, url: str | None, clock: Clock) -> Iterator[Finding]:
    endpoint = read_endpoint(config.state)
    where = urlsplit(url or endpoint.url)
    host, port = where.hostname or "", where.port or (443 if where.scheme == "https" else 80)
    if port_is_free(host, port, CONNECT_S):
        yield Finding(f"no server runs at {host}:{port} (`outcrop serve` starts one)")
        return
    try:
        key = read_root_access_key(config.state)
    except RootAccessKeyError:
        yield Finding(
            f"something answers at {host}:{port}, and not for this state folder",
            "give `outcrop doctor` that server's --state, or `outcrop serve` another --listen",
        )
        return
    endpoint = msgspec.structs.replace(endpoint, url=f"{where.scheme}://{where.netloc}")
    if config.tls.client_ca_file is not None and config.tls.client_auth == "required":
        what = f"server at {endpoint.url} asks for a client's certificate: it was not asked"
        yield Finding(what)
        return
    yield _answers(endpoint, key, clock)


def _answers(endpoint: Endpoint, key: RootAccessKey, clock: Clock) -> Finding:
    url = endpoint.url
    try:
        count = ask_inference_profiles(endpoint, key, clock=clock, timeout_s=CONNECT_S)
    except ProbeFailedError as error:
        return Finding(f"server at {url}: {error}", error.mend)
    return Finding(f"server at {url} answers a signed ListInferenceProfiles ({count} profiles)")
