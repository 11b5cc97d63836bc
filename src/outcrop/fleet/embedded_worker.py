"""The child process: one llama.cpp server on a unix socket, gone as soon as its stdin closes.

Every use of the engine is in this file: its names follow llama.cpp's and change with it.
"""

import importlib
import os
import signal
import sys
from typing import Any

import msgspec
from msgspec import Struct


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """Arrives as one line on stdin: a key on the command line could be read by anyone."""

    model_path: str
    alias: str
    socket: str
    api_key: str
    threads: int
    context_tokens: int
    slots: int
    embeds: bool = False
    """Vectors instead of text."""


def main() -> None:
    # systemd stops every process of a unit, and what is being answered still needs this one: it
    # leaves with its parent.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSettings)
    ready = _own_stdout()
    # Waiting threads that spin cost a shared machine most of its speed. Read when libgomp loads.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    server = _serve(settings)
    os.write(ready, b"ready\n")
    sys.stdin.buffer.read()
    # The parent is gone or wants us gone: nobody waits for what the engine would still finish.
    del server
    os._exit(0)


def _own_stdout() -> int:
    """What the engine prints goes into the log: nobody reads it here, and the pipe would fill."""
    ready = os.dup(1)
    os.dup2(2, 1)
    return ready


def _serve(settings: WorkerSettings) -> Any:
    try:
        # Here and not above: OMP_WAIT_POLICY first.
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        sys.exit(f"{error}{_advice(str(error))}")
    params: Any = xllamacpp.CommonParams()
    params.model.path = settings.model_path
    # Without an alias the answers would tell the file's path.
    params.model_alias = {settings.alias}
    params.n_parallel = settings.slots
    # Each kept-alive connection occupies one of its threads, waiting requests included.
    params.n_threads_http = 4 * settings.slots + 16
    params.n_ctx = settings.context_tokens
    params.embedding = settings.embeds
    # One pool of tokens for all slots, instead of an equal part for each.
    params.kv_unified = not settings.embeds
    params.n_batch = params.n_ubatch = _batch_tokens(settings)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    # The default keeps up to 8 GiB of old prompts.
    params.cache_ram_mib = 0
    params.ui = False
    params.verbosity = 0
    # A name that ends in .sock is a unix socket.
    params.hostnames = [settings.socket]
    params.api_keys = [settings.api_key]
    return xllamacpp.Server(params)


def _batch_tokens(settings: WorkerSettings) -> int:
    if settings.embeds:
        # Such a model reads a text whole: what a slot holds has to fit into one step.
        return settings.context_tokens // settings.slots
    # Other streams, and cancellations, wait for one batch at most.
    return 128


def _advice(error: str) -> str:
    if "libgomp" in error:
        return ": install GNU OpenMP (Debian and Ubuntu: libgomp1, Fedora: libgomp)"
    return ": the engine of the embedded model does not load on this machine"


if __name__ == "__main__":
    main()
