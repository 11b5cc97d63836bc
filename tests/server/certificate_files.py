"""Certificates in files, as an operator gives them to a server, and contexts of its clients."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class CertificateFiles:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.certificate_file = folder / "server.pem"
        self.key_file = folder / "server.key"
        self.issue()

    def issue(
        self, *names: str, ends: timedelta = timedelta(days=90), begins: timedelta = timedelta(-1)
    ) -> None:
        """Writes another certificate and key in the place of the last; times are from now."""
        now = datetime.now(UTC).replace(microsecond=0)
        made = self.authority.issue_cert(
            *(names or ("127.0.0.1", "localhost")), not_before=now + begins, not_after=now + ends
        )
        self.certificate_file.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.key_file)

    def config(self, more: str = "") -> str:
        return (
            f"[tls]\ncertificate_file = '{self.certificate_file}'\n"
            f"key_file = '{self.key_file}'\n{more}\n"
        )

    def client(self, shown_by: trustme.CA | None = None) -> ssl.SSLContext:
        """A client's context, with a certificate by `shown_by`."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if shown_by is not None:
            shown_by.issue_cert("client@example.net").configure_cert(context)
        return context
