"""Requests that no SDK sends: signed by hand, sent over a bare connection."""

import http.client
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

from tests.outcrop_process import OutcropProcess


class Answer(Struct, frozen=True):
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def error(self) -> str:
        return self.headers.get("x-amzn-errortype", "").partition(":")[0]


class Signer:
    def __init__(self, server: OutcropProcess) -> None:
        found = server.credentials
        self._key = Credentials(found.access_key_id, found.secret_access_key)
        self._server = server
        self.host = f"127.0.0.1:{server.port}"

    def headers(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        region: str = "us-east-1",
    ) -> dict[str, str]:
        request = AWSRequest(method, self._server.url + path, headers=headers, data=body)
        SigV4Auth(self._key, "bedrock", region).add_auth(request)
        return dict(request.headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        region: str = "us-east-1",
    ) -> Answer:
        """Raises OSError when the server goes away."""
        signed = self.headers(method, path, body, headers=headers, region=region)
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=15)
        try:
            connection.request(method, path, body, signed)
            answer = connection.getresponse()
            lowered = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, lowered, answer.read())
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
