"""Where the server of a state folder serves, noted there for `outcrop env` and `outcrop doctor`."""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from outcrop.server.config import DEFAULT_LISTEN, ConfigurationError

FILE_NAME = "endpoint.json"
LOCK_NAME = "serving.lock"

# `outcrop serve & eval "$(outcrop env)"`: how long one waits for the other to make its state
# folder, and then to serve.
_BEGIN_S = 1.0
_SERVE_S = 10.0
_LOOK_AGAIN_S = 0.05


class Endpoint(Struct, frozen=True, kw_only=True):
    url: str = f"http://{DEFAULT_LISTEN}"
    region: str = "us-east-1"
    ca_file: str | None = None
    """Of a local authority that clients must be told to believe."""


def write_endpoint(state: Path, endpoint: Endpoint) -> None:
    """Whole or not at all: somebody may be reading it."""
    temporary = state / f"{FILE_NAME}.new"
    temporary.write_bytes(msgspec.json.encode(endpoint))
    temporary.replace(state / FILE_NAME)


@contextmanager
def new_endpoint(state: Path) -> Generator[None]:
    """Forgets the last one while a server starts; remembers it again where that one could not.

    Raises ConfigurationError where another process serves this folder.
    """
    path = state / FILE_NAME
    with _served_alone(state):
        last = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        try:
            yield
        finally:
            if last is not None and not path.exists():
                path.write_bytes(last)


@contextmanager
def _served_alone(state: Path) -> Generator[None]:
    # Of this process alone: workers do not inherit it, and it ends with the process at the latest.
    with (state / LOCK_NAME).open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ConfigurationError(
                f"state = {state}: a server runs on it, at {read_endpoint(state).url}"
                " (--state takes another folder)"
            ) from error
        yield


def await_endpoint(state: Path) -> None:
    """Waits for a server that is only just starting; returns in any case."""
    if _appears(state, _BEGIN_S):
        _appears(state / FILE_NAME, _SERVE_S)


def _appears(path: Path, within_s: float) -> bool:
    for _ in range(round(within_s / _LOOK_AGAIN_S)):
        if path.exists():
            return True
        time.sleep(_LOOK_AGAIN_S)
    return path.exists()


def read_endpoint(state: Path) -> Endpoint:
    """What was noted last; the defaults when nothing readable was."""
    try:
        return msgspec.json.decode((state / FILE_NAME).read_bytes(), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        return Endpoint()
