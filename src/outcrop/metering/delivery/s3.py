"""Objects into buckets of Amazon S3, or of a server that speaks its API."""

import asyncio
import logging
import re
from collections.abc import Mapping
from html import unescape
from urllib.parse import quote

from msgspec import Struct

from outcrop.fleet.aws_signing import AwsCredentials, S3Request, signed_s3_headers
from outcrop.fleet.http_client import Address, CannotConnectError, HttpClient, Patience
from outcrop.fleet.http_connection import BrokenAnswerError
from outcrop.metering.config import S3DeliveryConfig
from outcrop.metering.delivery.records import Delivered
from outcrop.metering.delivery.undelivered import InvalidLoggingConfigError, UndeliveredError
from outcrop.wire.timestamps import Clock

PART_BYTES = 8 << 20
"""A longer object goes in parts of this length; Amazon's least is 5 MiB."""
PART_TRIES = 3
"""Of one part, before all of the object is put off."""
_log = logging.getLogger(__name__)
_PATIENCE = Patience(connect_s=5, first_byte_s=60, between_chunks_s=30, total_s=300)
_LONGEST_ANSWER = 64 * 1024
# As in "Naming Amazon S3 buckets": nothing of it needs quoting.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class _Answer(Struct, frozen=True):
    status: int
    etag: str
    body: str

    def element(self, name: str) -> str:
        """The text of an XML element; empty if there is none."""
        found = self.elements(name)
        return found[0] if found else ""

    def elements(self, name: str) -> list[str]:
        """The texts of all elements of that name, in their order."""
        return [unescape(text) for text in re.findall(f"<{name}>([^<]*)</{name}>", self.body)]


class S3Buckets:
    def __init__(
        self, config: S3DeliveryConfig, environ: Mapping[str, str], *, clock: Clock
    ) -> None:
        """Raises InvalidLoggingConfigError."""
        assert config.endpoint_url is not None
        self._config = config
        self._credentials = _credentials(config, environ)
        self._clock = clock
        self._endpoint = config.endpoint_url
        self._clients: dict[str, tuple[Address, HttpClient]] = {}

    async def put(self, delivered: Delivered) -> None:
        if not _BUCKET.fullmatch(delivered.place.name):
            raise UndeliveredError(f"{delivered.place.name} is no name of a bucket")
        headers = {"content-type": delivered.content_type}
        if delivered.content_encoding is not None:
            headers["content-encoding"] = delivered.content_encoding
        upload = _Upload(self, delivered.place.name, delivered.key, headers)
        if len(delivered.body) <= PART_BYTES:
            await upload.whole(delivered.body)
        else:
            await upload.in_parts(delivered.body)

    async def aclose(self) -> None:
        for _, client in self._clients.values():
            await client.aclose()

    async def ask(
        self,
        method: str,
        bucket: str,
        key: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> _Answer:
        """Of the bucket itself where `key` is empty.

        Raises UndeliveredError for every answer but success.
        """
        address, client = self._client(bucket)
        path = f"/{bucket}/{_encoded(key)}" if self._config.path_style else f"/{_encoded(key)}"
        request = S3Request(
            method=method,
            host=address.authority,
            path=path,
            query=query,
            headers=headers,
            body=body,
        )
        signature = signed_s3_headers(
            request, region=self._config.region, credentials=self._credentials, now=self._clock()
        )
        target = f"{path}?{query}" if query else path
        try:
            answer = await _answered(client, method, target, body, {**headers, **signature})
        except (CannotConnectError, BrokenAnswerError, TimeoutError, OSError) as error:
            raise UndeliveredError(f"{self._endpoint}: {str(error) or 'no answer'}") from error
        # A multi-part upload may fail after its answer has begun.
        if not 200 <= answer.status < 300 or "<Error>" in answer.body:
            reason = answer.element("Message") or answer.element("Code")
            raise UndeliveredError(f"{self._endpoint}: {answer.status} {reason}")
        return answer

    def _client(self, bucket: str) -> tuple[Address, HttpClient]:
        name = "" if self._config.path_style else bucket
        if name not in self._clients:
            scheme, _, host = self._endpoint.partition("://")
            address = Address.parse(f"{scheme}://{name}.{host}" if name else self._endpoint)
            self._clients[name] = address, HttpClient(address, headers={}, patience=_PATIENCE)
        return self._clients[name]


class _Upload:
    def __init__(
        self, buckets: S3Buckets, bucket: str, key: str, headers: Mapping[str, str]
    ) -> None:
        self._buckets = buckets
        self._bucket = bucket
        self._key = key
        self._headers = headers

    async def whole(self, body: bytes) -> None:
        await self._ask("PUT", "", body, self._headers)

    async def in_parts(self, body: bytes) -> None:
        await self._abort_abandoned()
        begun = await self._ask("POST", "uploads=", b"", self._headers)
        upload_id = quote(begun.element("UploadId"), safe="")
        if not upload_id:
            raise UndeliveredError("a multi-part upload was begun without an id")
        try:
            await self._parts(body, upload_id)
        except (UndeliveredError, asyncio.CancelledError):
            await self._abort(upload_id)
            raise

    async def _parts(self, body: bytes, upload_id: str) -> None:
        listed = ""
        for number, start in enumerate(range(0, len(body), PART_BYTES), 1):
            query = f"partNumber={number}&uploadId={upload_id}"
            part = await self._part(query, body[start : start + PART_BYTES])
            listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{part.etag}</ETag></Part>"
        whole = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        await self._ask("POST", f"uploadId={upload_id}", whole, {"content-type": "application/xml"})

    async def _part(self, query: str, body: bytes) -> _Answer:
        for _ in range(1, PART_TRIES):
            try:
                return await self._ask("PUT", query, body, {})
            except UndeliveredError as error:
                _log.info("a part of an object is sent again: %s", error)
        return await self._ask("PUT", query, body, {})

    async def _abort_abandoned(self) -> None:
        """Those that a killed server left behind: whoever delivers a key is alone in that.

        Who may not list them has, as for what `_abort` cannot tell, a rule of the bucket's own.
        """
        query = f"prefix={quote(self._key, safe='')}&uploads="
        try:
            listed = await self._buckets.ask("GET", self._bucket, "", query, {}, b"")
        except UndeliveredError as error:
            _log.info("uploads that were left behind cannot be listed: %s", error)
            return
        keys, ids = listed.elements("Key"), listed.elements("UploadId")
        for key, upload_id in zip(keys, ids, strict=False):
            if key == self._key:
                await self._abort(quote(upload_id, safe=""))

    async def _abort(self, upload_id: str) -> None:
        """So that the parts take no room; who cannot be told will have its own rule for them."""
        try:
            await self._ask("DELETE", f"uploadId={upload_id}", b"", {})
        except UndeliveredError:
            return

    async def _ask(
        self, method: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> _Answer:
        return await self._buckets.ask(method, self._bucket, self._key, query, headers, body)


async def _answered(
    client: HttpClient, method: str, target: str, body: bytes, headers: Mapping[str, str]
) -> _Answer:
    sent = {name: value for name, value in headers.items() if name != "host"}
    answer = await client.send(target, body, sent, method=method)
    try:
        read = bytearray()
        async for chunk in answer:
            read += chunk
            if len(read) > _LONGEST_ANSWER:
                break
        etag = answer.header("etag")
        return _Answer(answer.status, etag, read.decode(errors="replace"))
    finally:
        answer.close()


def _encoded(key: str) -> str:
    return quote(key, safe="/-_.~")


def _credentials(config: S3DeliveryConfig, environ: Mapping[str, str]) -> AwsCredentials:
    def value(variable: str) -> str:
        text = environ.get(variable, "").strip()
        if not text:
            raise InvalidLoggingConfigError(
                f"invocation_logging.s3: the environment variable {variable} is not set"
            )
        return text

    return AwsCredentials(
        value(config.access_key_id_env),
        value(config.secret_access_key_env),
        environ.get(config.session_token_env, "").strip() or None,
    )
