"""Where the operator's credentials for Amazon are: in variables, or in a profile of a file."""

from collections.abc import Mapping
from configparser import ConfigParser, Error
from pathlib import Path

from msgspec import Struct

from outcrop.fleet.aws_signing import AwsCredentials
from outcrop.fleet.config import AwsConfig, InvalidFleetConfigError

_FILE = "~/.aws/credentials"


class CredentialsProfile(Struct, frozen=True):
    """One section of a shared credentials file."""

    path: Path
    name: str

    @property
    def version(self) -> tuple[int, int]:
        """Another one when the file has been written anew. Raises InvalidFleetConfigError."""
        try:
            state = self.path.stat()
        except OSError as error:
            raise self._nothing_found(error) from error
        return state.st_mtime_ns, state.st_size

    def read(self) -> AwsCredentials:
        """Raises InvalidFleetConfigError."""
        parser = ConfigParser(interpolation=None)
        try:
            parser.read_string(self.path.read_text())
            section = parser[self.name]
            return AwsCredentials(
                section["aws_access_key_id"],
                section["aws_secret_access_key"],
                section.get("aws_session_token"),
            )
        except (OSError, UnicodeDecodeError, Error, KeyError) as error:
            raise self._nothing_found(error) from error

    def _nothing_found(self, error: Exception) -> InvalidFleetConfigError:
        # Not the error's own text: a parser's may show a line of the file.
        return InvalidFleetConfigError(
            f"no credentials in the profile {self.name} of {self.path}: {type(error).__name__}"
        )


OperatorsCredentials = AwsCredentials | CredentialsProfile


class CurrentCredentials:
    """Those that are valid now: some end after hours, and their file is then written anew."""

    def __init__(self, found: OperatorsCredentials) -> None:
        self._found = found
        self._read: AwsCredentials | None = None
        self._version: tuple[int, int] | None = None

    def __call__(self) -> AwsCredentials:
        """Raises InvalidFleetConfigError."""
        if isinstance(self._found, AwsCredentials):
            return self._found
        version = self._found.version
        if self._read is None or version != self._version:
            self._read, self._version = self._found.read(), version
        return self._read


def operators_credentials(config: AwsConfig, environ: Mapping[str, str]) -> OperatorsCredentials:
    """Raises InvalidFleetConfigError when there are none to begin with."""
    if config.profile is None:
        return _from_environment(config, environ)
    path = config.credentials_file or environ.get("AWS_SHARED_CREDENTIALS_FILE") or _FILE
    profile = CredentialsProfile(Path(path).expanduser(), config.profile)
    profile.read()
    return profile


def _from_environment(config: AwsConfig, environ: Mapping[str, str]) -> AwsCredentials:
    def value(variable: str) -> str:
        text = environ.get(variable, "").strip()
        if not text:
            raise InvalidFleetConfigError(f"the environment variable {variable} is not set")
        return text

    return AwsCredentials(
        value(config.access_key_id_env),
        value(config.secret_access_key_env),
        environ.get(config.session_token_env, "").strip() or None,
    )
