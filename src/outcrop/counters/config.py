"""What an operator says about Valkey: a record that refuses what it does not know."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

_SCHEMES = ("valkey", "valkeys", "redis", "rediss", "unix")


class InvalidValkeyConfigError(Exception):
    """Valkey cannot be used as configured; the message names the key."""


class ValkeyConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str | None = None  # valkey://user@host:6379/0; valkeys:// is TLS
    password_env: str | None = None  # the environment variable that holds the password
    password_file: str | None = None  # the file that holds it
    ca_file: str | None = None  # PEM; the authorities to believe
    timeout_s: Annotated[float, Meta(gt=0, le=10)] = 0.5  # of one call; then Valkey is lost
    when_lost: Literal["refuse", "local_share"] = "refuse"

    def __post_init__(self) -> None:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("password_env and password_file are two places for one password")
        if self.url is None:
            if self.password_env or self.password_file or self.ca_file:
                raise ValueError("there is no url to use the other keys with")
            return
        scheme = urlsplit(self.url).scheme
        if scheme not in _SCHEMES:
            raise ValueError(f"url begins with {scheme!r}, not with valkey:// or valkeys://")
        if self.ca_file is not None and not self.encrypted:
            raise ValueError("ca_file goes with a url that begins with valkeys://")

    @property
    def encrypted(self) -> bool:
        return self.url is not None and self.url.startswith(("valkeys://", "rediss://"))
