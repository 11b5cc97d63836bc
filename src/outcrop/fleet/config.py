"""What an operator says about model servers: records that refuse what they do not know."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0)]


class TimeoutsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    connect_s: Seconds = 5.0
    first_byte_s: Seconds = 120.0
    """From sending a request until the first byte of its answer: a long prompt takes time."""
    between_chunks_s: Seconds = 60.0


class ModelServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
    """Appears in the `x-outcrop-served-by` header and in the log."""
    url: Annotated[str, Meta(pattern=r"\Ahttps?://[^/]+.*[^/]\Z")]
    """Up to and without `/chat/completions`: `http://127.0.0.1:8000/v1`."""
    dialect: Literal["openai", "anthropic", "bedrock", "embedded"] = "openai"
    region: str | None = None
    """Where it stands; without one it belongs to every Region."""
    models: Annotated[dict[str, str], Meta(min_length=1)]
    """Foundation model id to the model's name on that server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds its key."""
    api_key_file: str | None = None
    timeouts: TimeoutsConfig = TimeoutsConfig()


class EmbeddedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool = True
    start: Literal["first_use", "at_start"] = "first_use"
    model_path: str | None = None
    """A GGUF file of your own in place of the model that Outcrop fetches."""
    threads: Annotated[int, Meta(ge=1)] | None = None
    """Without a number: the cores of this machine less one, at least one."""
    context_tokens: Annotated[int, Meta(ge=512)] = 8192
    """Shared by all requests in progress."""
    slots: Annotated[int, Meta(ge=1, le=64)] = 4
    """Requests answered at the same time; others wait."""
    stand_in: bool | None = None
    """Answer for every text model that no server serves. Unsaid: only while no server is named."""


class InvalidFleetConfigError(Exception):
    """The configuration is well-formed but cannot be followed; the text says what to change."""


def api_key(config: ModelServerConfig, environ: Mapping[str, str]) -> str | None:
    if config.api_key_env is not None:
        return _key_from_environment(config, config.api_key_env, environ)
    if config.api_key_file is not None:
        return _key_from_file(config, Path(config.api_key_file))
    return None


def _key_from_environment(
    config: ModelServerConfig, variable: str, environ: Mapping[str, str]
) -> str:
    key = environ.get(variable, "").strip()
    if not key:
        raise InvalidFleetConfigError(
            f"model server {config.name}: the environment variable {variable}, named by"
            " api_key_env, is not set"
        )
    return key


def _key_from_file(config: ModelServerConfig, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise InvalidFleetConfigError(
            f"model server {config.name}: api_key_file cannot be read: {error}"
        ) from error
