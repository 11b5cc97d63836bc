"""Whom we believe, and who we say we are, when a model server is reached over TLS."""

import ssl

from outcrop.fleet.config import InvalidFleetConfigError, ModelServerConfig


def tls_of(config: ModelServerConfig) -> ssl.SSLContext | None:
    """None for a server without TLS. Raises InvalidFleetConfigError."""
    if not config.url.startswith("https://"):
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(config, "ca_file", config.tls.ca_file, error) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without it a server in front of another may choose HTTP/2, which is not spoken here.
    context.set_alpn_protocols(["http/1.1"])
    if config.tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _present(context, config)
    return context


def _present(context: ssl.SSLContext, config: ModelServerConfig) -> None:
    certificate = config.tls.certificate_file
    if certificate is None:
        return
    try:
        # A key that wants a password must not ask for it on the terminal of a server.
        context.load_cert_chain(certificate, config.tls.key_file, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise _unusable(config, "certificate_file", certificate, error) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted: give one that is not, readable by this user alone")


def _unusable(
    config: ModelServerConfig, key: str, path: str | None, error: Exception
) -> InvalidFleetConfigError:
    return InvalidFleetConfigError(
        f"model server {config.name}: tls.{key} cannot be used: {path}: {error}"
    )
