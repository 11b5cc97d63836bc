"""Where the server of a state folder serves, noted there for `outcrop env` and `outcrop doctor`."""

from pathlib import Path

import msgspec
from msgspec import Struct

from outcrop.server.config import DEFAULT_LISTEN

FILE_NAME = "endpoint.json"


class Endpoint(Struct, frozen=True, kw_only=True):
    url: str = f"http://{DEFAULT_LISTEN}"
    region: str = "us-east-1"


def write_endpoint(state: Path, endpoint: Endpoint) -> None:
    """Whole or not at all: somebody may be reading it."""
    temporary = state / f"{FILE_NAME}.new"
    temporary.write_bytes(msgspec.json.encode(endpoint))
    temporary.replace(state / FILE_NAME)


def read_endpoint(state: Path) -> Endpoint:
    """What was noted last; the defaults when nothing readable was."""
    try:
        return msgspec.json.decode((state / FILE_NAME).read_bytes(), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        return Endpoint()
