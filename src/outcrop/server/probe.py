"""Asks a running server one signed question, as an AWS SDK would."""

import socket
import ssl
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from outcrop.iam.access_keys import RootAccessKey
from outcrop.iam.authorization import ALGORITHM, MAX_SKEW, Authorization, Scope
from outcrop.iam.sigv4 import SigningKey, canonical_request, string_to_sign
from outcrop.server.endpoint import Endpoint
from outcrop.wire.http import HttpRequest
from outcrop.wire.timestamps import Clock

SIGNED_HEADERS = "host;x-amz-date"


class ProbeFailedError(Exception):
    def __init__(self, what: str, *, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


def port_is_free(host: str, port: int, timeout_s: float) -> bool:
    """Whether nobody answers there."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return True
    return False


class Answer(Struct, frozen=True):
    status: int
    reason: str
    error: str
    """The name of Amazon's exception; empty if there is none."""
    body: bytes


def ask(
    endpoint: Endpoint, key: RootAccessKey, target: str, *, clock: Clock, timeout_s: float
) -> Answer:
    """The answer to a GET of a path and query. Raises ProbeFailedError if there is none."""
    connection = _connection(endpoint, timeout_s)
    try:
        headers = _signed(target, urlsplit(endpoint.url).netloc, key, endpoint.region, clock())
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except ssl.SSLCertVerificationError as error:
        raise ProbeFailedError(
            f"its certificate is not believed: {error.verify_message}",
            mend="give tls.certificate_file its whole chain, and --url a name that it is for; "
            "one of a private authority: SSL_CERT_FILE=its-ca.pem outcrop doctor",
        ) from error
    except ConnectionRefusedError as error:
        raise ProbeFailedError(
            f"no server runs at {endpoint.url}", mend="`outcrop serve` starts one"
        ) from error
    except (OSError, HTTPException) as error:
        raise ProbeFailedError(
            f"no HTTP answer: {str(error) or type(error).__name__}",
            mend="another program may listen there: give `outcrop serve` another --listen",
        ) from error
    finally:
        connection.close()
    _check_clock(answer.headers.get("date"), clock())
    name = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
    return Answer(answer.status, answer.reason, name, body)


def ask_inference_profiles(
    endpoint: Endpoint, key: RootAccessKey, *, clock: Clock, timeout_s: float
) -> int:
    """How many inference profiles the first page has."""
    answer = ask(endpoint, key, "/inference-profiles", clock=clock, timeout_s=timeout_s)
    if answer.status != 200:
        raise ProbeFailedError(
            f"it refuses the root access key ({answer.status} {answer.reason})",
            mend="it may serve another state folder: see --state and --url",
        )
    return _count(answer.body)


def _connection(endpoint: Endpoint, timeout_s: float) -> HTTPConnection:
    where = urlsplit(endpoint.url)
    host = where.hostname or ""
    if where.scheme != "https":
        return HTTPConnection(host, where.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except OSError as error:
        raise ProbeFailedError(
            f"{endpoint.ca_file} cannot be read: {error.strerror}", mend="outcrop tls"
        ) from error
    return HTTPSConnection(host, where.port, timeout=timeout_s, context=context)


def _signed(
    target: str, host: str, key: RootAccessKey, region: str, now: datetime
) -> dict[str, str]:
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = Scope(key.access_key_id, timestamp[:8], region, "bedrock")
    headers = {"host": host, "x-amz-date": timestamp}
    unsigned = Authorization(
        algorithm=ALGORITHM,
        credential=f"{key.access_key_id}/{scope}",
        signed_headers=SIGNED_HEADERS,
        signature="",
        date=timestamp,
        security_token="",
        content_sha256="",
        presigned=False,
    )
    path, _, query = target.partition("?")
    request = HttpRequest(method="GET", raw_path=path, query_string=query, headers=headers)
    to_sign = string_to_sign(canonical_request(request, unsigned), timestamp, scope)
    signature = SigningKey(key.secret_access_key, scope).signature(to_sign)
    credential = f"Credential={unsigned.credential}, SignedHeaders={SIGNED_HEADERS}"
    return {**headers, "authorization": f"{ALGORITHM} {credential}, Signature={signature}"}


def _check_clock(date: str | None, now: datetime) -> None:
    skew = parsedate_to_datetime(date) - now if date else timedelta()
    if abs(skew) > MAX_SKEW:
        raise ProbeFailedError(
            f"its clock differs from this machine's by {abs(skew).total_seconds():.0f} seconds",
            mend="set both clocks right (NTP): signatures are refused beyond five minutes",
        )


def _count(body: bytes) -> int:
    try:
        return len(msgspec.json.decode(body)["inferenceProfileSummaries"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ProbeFailedError(
            "what answers is not Outcrop",
            mend="another program listens there: give `outcrop serve` another --listen",
        ) from error
