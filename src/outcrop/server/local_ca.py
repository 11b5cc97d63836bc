"""A certificate authority of this installation's own, and the server's certificate by it."""

import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from outcrop.server.certificates import WARN_AHEAD, ServerCertificate, check_certificate, names_of
from outcrop.server.config import ConfigurationError
from outcrop.server.tls import TlsFiles, local_ca_file, local_ca_key_file, local_files
from outcrop.wire.arn import partition_of

CA_FOR = timedelta(days=3_650)
SERVER_FOR = timedelta(days=365)

# Clocks of clients may be a little behind.
BACKDATED = timedelta(hours=1)

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class LocalAuthority:
    """In the state folder; its keys are for their owner alone."""

    def __init__(self, state: Path) -> None:
        self.ca_file = local_ca_file(state)
        self.files: TlsFiles = local_files(state)
        self._ca_key_file = local_ca_key_file(state)

    def ensure(self, names: Sequence[str], now: datetime) -> None:
        """Makes what is not there, and a new certificate when the one in place ends soon."""
        if not self.files.certificate.exists() or self._current(now).not_after - now < WARN_AHEAD:
            self.renew(names, now)

    def renew(self, names: Sequence[str], now: datetime) -> None:
        """Another certificate and key, by the same authority unless there is none yet.

        Names that the last certificate had are kept. Raises ConfigurationError.
        """
        try:
            self._renew(names, now)
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}") from error

    def _renew(self, names: Sequence[str], now: datetime) -> None:
        folder = self.ca_file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        issuer, issuer_key = self._authority(now)
        kept = self._names_so_far()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begun("Outcrop server", issuer.subject, key, now, now + SERVER_FOR)
            .add_extension(_alternative_names(_unique((*names, *kept))), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_issued_by(issuer_key), critical=False)
            .sign(issuer_key, SHA256())
        )
        _write(self.files.key, _pem(key))
        _write(self.files.certificate, certificate.public_bytes(Encoding.PEM))

    def _current(self, now: datetime) -> ServerCertificate:
        try:
            return check_certificate(self.files, now)
        except ConfigurationError:
            # Expired, damaged or half there: as if it ended now.
            return ServerCertificate(names=(), not_before=now, not_after=now)

    def _names_so_far(self) -> Sequence[str]:
        try:
            return names_of(x509.load_pem_x509_certificate(self.files.certificate.read_bytes()))
        except (OSError, ValueError):
            return ()

    def _authority(self, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        if not self.ca_file.exists():
            self._make_authority(now)
        try:
            certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
            key = load_pem_private_key(self._ca_key_file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise self._unusable("cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._unusable("was not made here")
        if certificate.not_valid_after_utc - now < SERVER_FOR:
            raise self._unusable("ends too soon")
        return certificate, key

    def _unusable(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"the local authority {self.ca_file} {what}: move {self.ca_file.parent} away, "
            "`outcrop tls` makes another, and clients must be given its ca.pem"
        )

    def _make_authority(self, now: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        # A name of its own: a client may hold several of them.
        name = f"Outcrop local CA {secrets.token_hex(4)}"
        certificate = (
            _begun(name, _subject(name), key, now, now + CA_FOR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, SHA256())
        )
        _write(self._ca_key_file, _pem(key))
        _write(self.ca_file, certificate.public_bytes(Encoding.PEM))


def names_for(regions: Sequence[str], extra: Sequence[str]) -> Sequence[str]:
    """Those of this machine, of the operator, and of Amazon: a wildcard stands for one label alone.

    `*.us-east-1.amazonaws.com` is bedrock, bedrock-runtime, monitoring, ce and sts there.
    """
    return _unique((*LOOPBACK, *extra, "*.amazonaws.com", *_regional(regions)))


def _regional(regions: Sequence[str]) -> Iterator[str]:
    for region in regions:
        suffix = "amazonaws.com.cn" if partition_of(region) == "aws-cn" else "amazonaws.com"
        yield f"*.{region}.{suffix}"


def _unique(names: Sequence[str]) -> Sequence[str]:
    return tuple(dict.fromkeys(names))


def _begun(
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(not_after)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigurationError(f"--name {name}: no DNS name and no IP address") from error


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
