"""Requests signed by botocore, the oracle; and the keys and the clock to verify them by."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

from outcrop.iam.authenticator import Authenticator
from outcrop.iam.directory import root
from outcrop.iam.policy.evaluation import Authorizer
from outcrop.iam.policy.principal import Principal
from outcrop.iam.policy.rules import PolicySet
from outcrop.iam.temporary_credentials import KEY_BYTES, Session, TemporaryCredentials
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.http import HttpRequest
from outcrop.wire.timestamps import Clock

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ACCOUNT_ID = "123456789012"
HOST = "127.0.0.1:8787"


def known_key(
    access_key_id: str = ACCESS_KEY_ID,
    secret_access_key: str = SECRET_ACCESS_KEY,
    account_id: str = ACCOUNT_ID,
) -> AccessKeyRecord:
    return AccessKeyRecord(
        account_id=account_id,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


class KeysInMemory:
    """Root access keys by id; counts how often it is asked for one."""

    def __init__(self, keys: Sequence[AccessKeyRecord] = (known_key(),)) -> None:
        self.keys = {key.access_key_id: key for key in keys}
        self.asked = 0
        self.changes = 0

    async def version(self) -> int:
        return self.changes

    async def key(self, access_key_id: str) -> AccessKeyRecord | None:
        self.asked += 1
        return self.keys.get(access_key_id)

    async def holder(self, key: AccessKeyRecord, region: str) -> Authorizer | None:
        return Authorizer(Principal(caller=root(key.account_id, region)), PolicySet())

    async def session(self, session: Session, region: str) -> Authorizer | None:
        raise AssertionError("nobody made a session")


def authenticator_of(keys: KeysInMemory, clock: Clock) -> Authenticator:
    return Authenticator(keys, clock, temporary=TemporaryCredentials(bytes(KEY_BYTES)))


class MovableClock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class Signer(Struct, frozen=True, kw_only=True):
    """Signs as an AWS SDK does."""

    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    session_token: str | None = None
    region: str = "us-east-1"
    service: str = "bedrock"

    def sign(
        self,
        method: str = "GET",
        target: str = "/inference-profiles?maxResults=10",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> HttpRequest:
        request = AWSRequest(method, f"http://{HOST}{target}", headers=headers or {}, data=body)
        SigV4Auth(self._credentials(), self.service, self.region).add_auth(request)
        return _received(request)

    def presign(
        self,
        method: str = "GET",
        target: str = "/inference-profiles?maxResults=10",
        *,
        expires_s: int = 900,
    ) -> HttpRequest:
        request = AWSRequest(method, f"http://{HOST}{target}")
        credentials = self._credentials()
        SigV4QueryAuth(credentials, self.service, self.region, expires=expires_s).add_auth(request)
        return _received(request)

    def _credentials(self) -> Credentials:
        return Credentials(self.access_key_id, self.secret_access_key, self.session_token)


def _received(request: AWSRequest) -> HttpRequest:
    url = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return HttpRequest(
        method=request.method,
        raw_path=url.path,
        query_string=url.query,
        headers={"host": HOST, **headers},
        body=request.data or b"",
    )


def signing_time(request: HttpRequest) -> datetime:
    text = request.headers.get("x-amz-date") or _parameter(request.query_string, "X-Amz-Date")
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _parameter(query_string: str, name: str) -> str:
    return dict(pair.split("=", 1) for pair in query_string.split("&"))[name]
