"""TLS at the port: the certificate shown to clients, the one asked of them, and how both change."""

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from outcrop.server.config import Config, ConfigurationError
from outcrop.wire.timestamps import Clock

# In the order of our liking; which of the two is spoken, a connection's first bytes tell.
PROTOCOLS = ("h2", "http/1.1")


class TlsFiles(NamedTuple):
    """What a certificate is read from; for refusals, with the keys that name the files."""

    certificate: Path
    key: Path
    certificate_key: str = "tls.certificate_file"
    key_key: str = "tls.key_file"


class ListenerTls:
    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises ConfigurationError, as `context_of` does."""
        self.context = context_of(config, clock)
        """What new connections are greeted with; None: no TLS."""
        self._clock = clock

    def prepared(self, config: Config) -> Callable[[], None]:
        """What makes new connections follow `config`; those that are there keep what they have.

        Raises ConfigurationError, and nothing has changed.
        """
        if config.tls.serves is (self.context is None):
            raise ConfigurationError("only a restart turns TLS on or off")
        return partial(setattr, self, "context", context_of(config, self._clock))


def context_of(config: Config, clock: Clock) -> ssl.SSLContext | None:
    """None without TLS. Raises ConfigurationError for files that nobody could be served with."""
    if not config.tls.serves:
        return None
    # Ten megabytes that a server without TLS does not need.
    from outcrop.server.certificates import check_certificate  # noqa: PLC0415

    files = tls_files(config)
    check_certificate(files, clock())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client that keeps negotiating anew costs much and says nothing.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as error:  # a key that is too short, for one
        raise ConfigurationError(
            f"{files.certificate_key} = {files.certificate}: {error.reason}"
        ) from error
    _ask_clients(context, config)
    return context


def tls_files(config: Config) -> TlsFiles:
    tls = config.tls
    if tls.certificate_file is not None:
        return TlsFiles(tls.certificate_file, tls.key_file or tls.certificate_file)
    return local_files(config.state)


def local_files(state: Path) -> TlsFiles:
    """Of the certificate that `outcrop tls` makes."""
    folder = state / "tls"
    return TlsFiles(folder / "server.pem", folder / "server.key", *["`outcrop tls`"] * 2)


def local_ca_file(state: Path) -> Path:
    """What clients of that certificate must believe."""
    return state / "tls" / "ca.pem"


def local_ca_key_file(state: Path) -> Path:
    return state / "tls" / "ca.key"


def _ask_clients(context: ssl.SSLContext, config: Config) -> None:
    tls = config.tls
    if tls.client_ca_file is None:
        return
    try:
        context.load_verify_locations(tls.client_ca_file)
    except OSError as error:  # SSLError is one
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"tls.client_ca_file = {tls.client_ca_file}: {reason}") from error
    required = tls.client_auth == "required"
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
