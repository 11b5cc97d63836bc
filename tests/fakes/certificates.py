"""An authority that signs certificates for tests, and what each side of a TLS connection needs."""

import ssl
from pathlib import Path

import trustme


class Certificates:
    """Made once for a test session: keys take a while."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert("127.0.0.1", "localhost")
        self._other = self._authority.issue_cert("gpu.example.net")
        client = self._authority.issue_cert("outcrop@example.net")
        self.ca_file = str(folder / "ca.pem")
        self.client_file = str(folder / "client.pem")
        self.client_key_file = str(folder / "client.key")
        self._authority.cert_pem.write_to_path(self.ca_file)
        client.cert_chain_pems[0].write_to_path(self.client_file)
        client.private_key_pem.write_to_path(self.client_key_file)

    def server(self, *, other_name: bool = False, asks_for_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (self._other if other_name else self._server).configure_cert(context)
        if asks_for_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self._authority.configure_trust(context)
        return context
