"""What no SDK sends: 4xx in Amazon's words, never 5xx, never a hang."""

import json
from collections.abc import Iterator, Mapping

import pytest

from tests.conformance.signing import Signer
from tests.outcrop_process import OutcropProcess

PROFILE = {
    "inferenceProfileName": "manual",
    "modelSource": {
        "copyFrom": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
    },
    "tags": [{"key": "team", "value": "a"}],
}
UNITS = {
    "provisionedModelName": "manual",
    "modelId": "amazon.nova-lite-v1:0:24k",
    "modelUnits": 1,
}
CONVERSATION = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
BODIES: Mapping[str, Mapping[str, object]] = {
    "/inference-profiles": PROFILE,
    "/provisioned-model-throughput": UNITS,
    "/model/amazon.nova-lite-v1%3A0/converse": CONVERSATION,
    "/model/amazon.nova-lite-v1%3A0/converse-stream": CONVERSATION,
    "/tagResource": {"resourceARN": "arn:aws:bedrock:x", "tags": []},
    "/untagResource": {"resourceARN": "arn:aws:bedrock:x", "tagKeys": []},
    "/listTagsForResource": {"resourceARN": "arn:aws:bedrock:x"},
}


@pytest.fixture(scope="module")
def signer(server: OutcropProcess) -> Signer:
    return Signer(server)


@pytest.mark.parametrize("path", BODIES)
def test_no_prefix_of_a_valid_body_is_more_than_a_bad_request(signer: Signer, path: str) -> None:
    body = json.dumps(BODIES[path]).encode()

    for end in range(len(body)):
        answer = signer.ask("POST", path, body[:end])
        assert answer.status == 400, (body[:end], answer)
        assert answer.error in {"SerializationException", "ValidationException"}


def hostile(member: str) -> Iterator[bytes]:
    """Values that a member of any type must survive."""
    values = [
        b"null", b"true", b"1", b"-1", b"1e999", b"1" * 400, b'""', b"[]", b"{}", b"[[]]",
        b'"' + b"a" * 100_000 + b'"', b'"\\u0000"', b'"\\ud800"', b"NaN", b"[null]", b'{"a":1}',
    ]  # fmt: skip
    for value in values:
        yield b'{"%s":%s}' % (member.encode(), value)


@pytest.mark.parametrize("path", BODIES)
def test_members_of_every_wrong_type_are_refused(signer: Signer, path: str) -> None:
    for member in BODIES[path]:
        for body in hostile(member):
            answer = signer.ask("POST", path, body)
            assert 400 <= answer.status < 500, (body[:80], answer)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"modelSource":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"\xff\xfe{}",
        b'{"inferenceProfileName":"\xc3\x28"}',
        b"\0" * 1000,
        b"[]",
        b'"text"',
        b"{}{}",
        b"{} trailing",
        "{“inferenceProfileName”:1}".encode(),
        b"x" * 10_000_000,
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("path", ["/inference-profiles", "/model/amazon.nova-lite-v1%3A0/converse"])
def test_rubbish_is_refused(signer: Signer, path: str, body: bytes) -> None:
    answer = signer.ask("POST", path, body)

    assert answer.status == 400
    assert answer.error in {"SerializationException", "ValidationException"}
    assert json.loads(answer.body)["message"]
    assert answer.headers["x-amzn-requestid"]


def test_deep_documents_are_refused_or_passed_on_but_never_crash(signer: Signer) -> None:
    for depth, status in ((50, 200), (201, 400), (100_000, 400)):
        document = b"[" * depth + b"]" * depth
        body = b'{"messages":[{"role":"user","content":[{"text":"hi"}]}],' + (
            b'"inferenceConfig":{"maxTokens":1},"additionalModelRequestFields":{"x":%s}}' % document
        )
        answer = signer.ask("POST", "/model/amazon.nova-lite-v1%3A0/converse", body)
        assert answer.status == status, answer


@pytest.mark.parametrize(
    "body",
    [
        b'{"tags":[' + b"{}," * 200_000 + b"{}]}",
        b'{"inferenceProfileName":"' + b"a" * 5_000_000 + b'"}',
    ],
    ids=["many violations", "a long value"],
)
def test_a_refusal_is_no_longer_than_anybody_reads(signer: Signer, body: bytes) -> None:
    answer = signer.ask("POST", "/inference-profiles", body)

    assert answer.error == "ValidationException"
    assert len(answer.body) < 200_000


@pytest.mark.parametrize(
    "query",
    [
        "maxResults=1&maxResults=2",
        "maxResults=",
        "maxResults=0",
        "maxResults=1001",
        "maxResults=1.0",
        "maxResults=%2B1x",
        "maxResults=99999999999999999999",
        "maxResults=%EF%BC%91",
        "nextToken=",
        "nextToken=%20",
        "nextToken=" + "a" * 2049,
        "nextToken=abc%0A",
        "nextToken=%FF",
        "type=application",
        "type=",
    ],
)
def test_bad_queries_are_refused(signer: Signer, query: str) -> None:
    answer = signer.ask("GET", f"/inference-profiles?{query}")

    assert answer.status == 400, answer
    assert answer.error in {"ValidationException", "SerializationException"}


@pytest.mark.parametrize("query", ["unknown=1", "typeEquals=APPLICATION", "a=b&a=c"])
def test_unknown_query_keys_are_ignored(signer: Signer, query: str) -> None:
    assert signer.ask("GET", f"/inference-profiles?maxResults=1&{query}").status == 200


@pytest.mark.parametrize(
    "query",
    [
        "creationTimeAfter=yesterday",
        "creationTimeAfter=2026-13-01T00%3A00%3A00Z",
        "creationTimeAfter=99999999999999999999",
        "creationTimeBefore=-99999999999999999999",
        "creationTimeBefore=0001-01-01T00%3A00%3A00%2B14%3A00",
        "nameContains=a%20b",
        "nameContains=%00",
        "statusEquals=inservice",
        "sortBy=Name",
        "sortOrder=Up",
        "modelArnEquals=" + "a" * 30,
    ],
)
def test_bad_filters_are_refused(signer: Signer, query: str) -> None:
    answer = signer.ask("GET", f"/provisioned-model-throughputs?{query}")

    assert answer.status == 400, answer


def test_the_three_encodings_of_an_arn_and_the_literal_slash(signer: Signer) -> None:
    listed = json.loads(signer.ask("GET", "/inference-profiles?maxResults=1").body)
    arn = listed["inferenceProfileSummaries"][0]["inferenceProfileArn"]
    encoded = arn.replace("/", "%2F")

    for spelling in (encoded, encoded.replace(":", "%3A"), encoded.replace(":", "%3a")):
        answer = signer.ask("GET", f"/inference-profiles/{spelling}")
        assert json.loads(answer.body)["inferenceProfileArn"] == arn
    literal = signer.ask("GET", f"/inference-profiles/{arn}")
    assert literal.status == 200
    assert json.loads(literal.body) == {
        "Output": {"__type": "com.amazon.coral.service#UnknownOperationException"},
        "Version": "1.0",
    }


def test_an_operation_that_is_not_served_says_so(signer: Signer) -> None:
    answer = signer.ask("GET", "/guardrails")

    assert answer.status == 501
    assert answer.error == "UnknownOperationException"
    assert "ListGuardrails" in json.loads(answer.body)["message"]
    assert "docs/compatibility.md" in json.loads(answer.body)["message"]


@pytest.mark.parametrize("path", ["/", "//", "/inference-profiles/", "/inference-profiles//", "/x"])
def test_a_path_of_no_operation_is_unknown(signer: Signer, path: str) -> None:
    answer = signer.ask("GET", path)

    assert (answer.status, b"UnknownOperationException" in answer.body) == (200, True)


@pytest.mark.parametrize("method", ["PUT", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_other_methods_are_no_operations(signer: Signer, method: str) -> None:
    answer = signer.ask(method, "/inference-profiles")

    assert answer.status in {200, 400, 405}


def test_every_answer_has_an_id_and_a_date(signer: Signer) -> None:
    for path in ("/inference-profiles", "/nothing", "/guardrails", "/inference-profiles?type=x"):
        answer = signer.ask("GET", path)
        assert len(answer.headers["x-amzn-requestid"]) == 36
        assert answer.headers["date"]


def test_a_body_cannot_smuggle_a_label(signer: Signer) -> None:
    body = json.dumps(CONVERSATION | {"modelId": "amazon.nova-lite-v1:0"}).encode()

    answer = signer.ask("POST", "/model/no.such-model/converse", body)

    assert json.loads(answer.body)["message"] == "The provided model identifier is invalid."
