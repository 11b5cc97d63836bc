"""Amazon's published test suite, as values: `sigv4_vectors.json` says where they are from."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from outcrop.iam import authorization, sigv4
from outcrop.wire.http import HttpRequest


class Vector(Struct, frozen=True):
    name: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str
    authorization: str
    canonical_request: str
    string_to_sign: str


class Suite(Struct, frozen=True):
    access_key_id: str
    secret_access_key: str
    timestamp: str
    region: str
    service: str
    vectors: list[Vector]


SUITE = msgspec.json.decode(Path(__file__).with_name("sigv4_vectors.json").read_bytes(), type=Suite)
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@pytest.mark.parametrize("vector", SUITE.vectors, ids=lambda vector: vector.name)
def test_amazons_signature_verifies_by_amazons_own_steps(vector: Vector) -> None:
    request = _request(vector)
    presented = authorization.read(request)
    timestamp = authorization.signed_at(presented, NOW)
    scope = authorization.scope(presented, timestamp, SUITE.service)
    key = sigv4.SigningKey(SUITE.secret_access_key, scope)

    canonical = sigv4.canonical_request(request, presented)

    assert canonical == vector.canonical_request
    assert sigv4.string_to_sign(canonical, timestamp, scope) == vector.string_to_sign
    sigv4.verify(request, presented, timestamp=timestamp, key=key)


def test_the_suite_is_whole() -> None:
    names = {vector.name for vector in SUITE.vectors}

    assert len(names) == 34
    assert names >= {"get-vanilla", "get-utf8", "get-slashes", "post-x-www-form-urlencoded"}


def _request(vector: Vector) -> HttpRequest:
    target = vector.target.encode().decode("latin-1")
    raw_path, _, query_string = target.partition("?")
    headers: dict[str, str] = {}
    for raw_name, value in vector.headers:
        name = raw_name.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return HttpRequest(
        method=vector.method,
        raw_path=raw_path,
        query_string=query_string,
        headers={**headers, "authorization": vector.authorization},
        body=vector.body.encode(),
    )
