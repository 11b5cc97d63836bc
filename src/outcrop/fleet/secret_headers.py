"""What every call of a server carries besides its question: the key, and the operator's headers."""

from collections.abc import Mapping
from pathlib import Path

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig

# https://docs.anthropic.com/en/api/versioning
_ANTHROPIC_VERSION = "2023-06-01"


def headers_of(config: ModelServerConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """In lower case. Raises InvalidFleetConfigError when a secret is not where it should be."""
    key = api_key(config, environ)
    headers = {
        **_dialects_own(config, key),
        **{name.lower(): value for name, value in config.headers.items()},
        **{
            name.lower(): _from_environment(config, variable, environ, named_by="header_env")
            for name, variable in config.header_env.items()
        },
    }
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            # The value is not shown: it may be a secret.
            raise InvalidFleetConfigError(
                f"model server {config.name}: the value of the header {name} holds characters that"
                " no header can hold"
            )
    return headers


def api_key(config: ModelServerConfig, environ: Mapping[str, str]) -> str | None:
    if config.api_key_env is not None:
        return _from_environment(config, config.api_key_env, environ, named_by="api_key_env")
    if config.api_key_file is not None:
        return _from_file(config, Path(config.api_key_file))
    return None


def _dialects_own(config: ModelServerConfig, key: str | None) -> dict[str, str]:
    if config.dialect == "anthropic":
        version = {"anthropic-version": _ANTHROPIC_VERSION}
        return version if key is None else {**version, "x-api-key": key}
    return {} if key is None else {"authorization": f"Bearer {key}"}


def _from_environment(
    config: ModelServerConfig, variable: str, environ: Mapping[str, str], *, named_by: str
) -> str:
    value = environ.get(variable, "").strip()
    if not value:
        raise InvalidFleetConfigError(
            f"model server {config.name}: the environment variable {variable}, named by"
            f" {named_by}, is not set"
        )
    return value


def _from_file(config: ModelServerConfig, path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFleetConfigError(
            f"model server {config.name}: api_key_file {path} cannot be read: {error}"
        ) from error
    if not key:
        raise InvalidFleetConfigError(f"model server {config.name}: api_key_file {path} is empty")
    return key
