"""What can be wrong with a server's certificate and its key, told before a client finds out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct

from outcrop.server.config import ConfigurationError
from outcrop.server.tls import TlsFiles

WARN_AHEAD = timedelta(days=30)


class ServerCertificate(Struct, frozen=True, kw_only=True):
    names: Sequence[str]
    """DNS names and IP addresses that it is for."""
    not_before: datetime
    not_after: datetime

    def covers(self, host: str) -> bool:
        """A wildcard stands for one label, and for no address."""
        _, _, parent = host.partition(".")
        return host in self.names or (bool(parent) and f"*.{parent}" in self.names)

    @property
    def plain_name(self) -> str | None:
        """The first that is a host's own."""
        return next((name for name in self.names if not name.startswith("*.")), None)


def check_certificate(files: TlsFiles, now: datetime) -> ServerCertificate:
    """Raises ConfigurationError, naming the file and what is wrong with it."""
    certificate = _read_certificate(files)
    _check_key(files, certificate)
    if now >= certificate.not_valid_after_utc:
        raise _refused(
            files.certificate_key,
            files.certificate,
            f"it expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        )
    if now < certificate.not_valid_before_utc:
        raise _refused(
            files.certificate_key,
            files.certificate,
            f"it is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
        )
    return ServerCertificate(
        names=names_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _read_certificate(files: TlsFiles) -> x509.Certificate:
    data = _read(files.certificate_key, files.certificate)
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise _refused(
            files.certificate_key, files.certificate, "it holds no certificate in PEM"
        ) from error


def _check_key(files: TlsFiles, certificate: x509.Certificate) -> None:
    data = _read(files.key_key, files.key)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        reason = "the key is encrypted: give one that is not, readable by this user alone"
        raise _refused(files.key_key, files.key, reason) from None
    except (ValueError, UnsupportedAlgorithm):
        # Without its cause, which may quote the file.
        raise _refused(files.key_key, files.key, "it holds no private key in PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        reason = f"it is not the key of {files.certificate}"
        raise _refused(files.key_key, files.key, reason)


def names_of(certificate: x509.Certificate) -> Sequence[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(ip_address(str(address))) for address in addresses),
    )


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(key, path, error.strerror or "it cannot be read") from error


def _refused(key: str, path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{key} = {path}: {reason}")
