import asyncio
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import pytest
from hypothesis import example, given, settings, strategies as st

from outcrop.iam import authorization, sigv4
from outcrop.iam.authenticator import Authenticator
from outcrop.wire.errors import AwsError, InvalidSignatureException
from outcrop.wire.http import HttpRequest
from tests.iam.signing import KeysInMemory, Signer, authenticator_of, signing_time

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12"
SEGMENT = st.text(st.sampled_from("aZ09-._~:/ %é+=,@$&'()*;!ሴ"), min_size=1, max_size=12)
PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
# A signer splits the value where Unicode sees white space; on the wire there is only ASCII's.
HEADER_VALUE = st.lists(PLAIN, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([" ".join(words), "   ".join(words), f" {' '.join(words)}  "])
)
QUERY = st.lists(
    st.tuples(st.text(max_size=6), st.text(st.sampled_from("aZ0 +&=%/:~é*ሴ"), max_size=8)),
    max_size=5,
)


def verified(request: HttpRequest) -> None:
    authenticator = authenticator_of(KeysInMemory(), lambda: signing_time(request))
    asyncio.run(authenticator.authenticate(request, "bedrock"))


def in_some_encoding(identifier: str, encoding: str) -> str:
    match encoding:
        case "all":
            return quote(identifier, safe="")
        case "slash":
            return quote(identifier, safe=":")
        case _:
            return quote(identifier, safe=":/")


@given(
    identifier=SEGMENT,
    encoding=st.sampled_from(["all", "slash", "none"]),
    query=QUERY,
    header=HEADER_VALUE,
    body=st.binary(max_size=40),
)
@example(ARN, "all", [], "a", b"")
@example(ARN, "slash", [("a", "2"), ("a", "1"), ("", ""), ("b", "")], "a  b", b"{}")
@example("./a//../b/", "none", [("nameContains", "a b+c")], "a", b"")
@settings(max_examples=150)
def test_what_botocore_signs_verifies(
    identifier: str, encoding: str, query: list[tuple[str, str]], header: str, body: bytes
) -> None:
    path = f"/model/{in_some_encoding(identifier, encoding)}/converse"
    encoded = urlencode(query, quote_via=quote, safe="~")
    target = f"{path}?{encoded}" if encoded else path

    request = Signer().sign("POST", target, headers={"X-Extra": header}, body=body)

    verified(request)


@given(identifier=SEGMENT, encoding=st.sampled_from(["all", "slash", "none"]), query=QUERY)
@settings(max_examples=75)
def test_what_botocore_presigns_verifies(
    identifier: str, encoding: str, query: list[tuple[str, str]]
) -> None:
    named = [(f"n{name}", value) for name, value in query]
    encoded = urlencode(dict(named), quote_via=quote, safe="~")

    request = Signer().presign(
        target=f"/inference-profiles/{in_some_encoding(identifier, encoding)}?{encoded}"
    )

    verified(request)


GOOD = Signer().sign(
    "POST",
    f"/model/{quote(ARN, safe='')}/converse?b=2&a=x%20y&a=1",
    headers={"X-Extra": "one two", "Content-Type": "application/json"},
    body=b'{"messages":[]}',
)
PRESIGNED = Signer().presign(target="/inference-profiles?a=x%20y&b=2")


def changed(text: str, at: int, to: str) -> str:
    at %= len(text)
    return text[:at] + to + text[at + 1 :]


@given(
    part=st.sampled_from(["raw_path", "query_string", "host", "x-extra", "x-amz-date", "body"]),
    at=st.integers(min_value=0, max_value=500),
    to=st.characters(min_codepoint=33, max_codepoint=255),
)
@settings(max_examples=300)
def test_a_request_with_one_byte_changed_is_refused(part: str, at: int, to: str) -> None:
    if part in GOOD.headers:
        value = changed(GOOD.headers[part], at, to)
        request = msgspec.structs.replace(GOOD, headers={**GOOD.headers, part: value})
    elif part == "body":
        body = changed(GOOD.body.decode(), at, to).encode("latin-1")
        request = msgspec.structs.replace(GOOD, body=body)
    else:
        request = msgspec.structs.replace(GOOD, **{part: changed(getattr(GOOD, part), at, to)})

    if means_the_same(request, GOOD):
        return
    with pytest.raises(AwsError) as refusal:
        asyncio.run(_at(GOOD).authenticate(request, "bedrock"))

    assert refusal.value.status in {400, 403}
    if part != "x-amz-date":
        assert isinstance(refusal.value, InvalidSignatureException)


@given(
    at=st.integers(min_value=0, max_value=1000),
    to=st.characters(min_codepoint=33, max_codepoint=255),
)
@settings(max_examples=300)
def test_a_presigned_url_with_one_byte_changed_is_refused(at: int, to: str) -> None:
    query_string = changed(PRESIGNED.query_string, at, to)
    request = msgspec.structs.replace(PRESIGNED, query_string=query_string)

    if means_the_same(request, PRESIGNED):
        return
    with pytest.raises(AwsError) as refusal:
        asyncio.run(_at(PRESIGNED).authenticate(request, "bedrock"))

    assert refusal.value.status in {400, 403}


@pytest.mark.parametrize("at", range(64))
def test_a_signature_with_one_digit_changed_is_refused(at: int) -> None:
    presented, _, signature = GOOD.headers["authorization"].rpartition("=")
    wrong = changed(signature, at, "0" if signature[at] != "0" else "1")

    request = msgspec.structs.replace(
        GOOD, headers={**GOOD.headers, "authorization": f"{presented}={wrong}"}
    )

    with pytest.raises(InvalidSignatureException):
        verified(request)


def means_the_same(one: HttpRequest, other: HttpRequest) -> bool:
    """`%3a` is `%3A` and `+` is `%20` in a query; nothing else may differ and still verify."""
    same_query = sorted(parse_qsl(one.query_string, keep_blank_values=True)) == sorted(
        parse_qsl(other.query_string, keep_blank_values=True)
    )
    return same_query and msgspec.structs.replace(one, query_string=other.query_string) == other


def _at(signed: HttpRequest) -> Authenticator:
    return authenticator_of(KeysInMemory(), lambda: signing_time(signed))


@pytest.mark.parametrize(
    ("raw_path", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a///b//", "/a/b/"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/model/a:0/invoke", "/model/a%3A0/invoke"),
        ("/model/a%3A0/invoke", "/model/a%253A0/invoke"),
        ("/model/a%3a0/invoke", "/model/a%253a0/invoke"),
        ("/inference-profiles/arn:aws:b%2Fid", "/inference-profiles/arn%3Aaws%3Ab%252Fid"),
        ("/\u00e1\u0088\u00b4", "/%E1%88%B4"),
        ("*", "/%2A"),
    ],
)
def test_the_path_is_normalised_and_encoded_once_more(raw_path: str, canonical: str) -> None:
    assert sigv4.canonical_path(raw_path) == canonical


@pytest.mark.parametrize(
    ("query_string", "canonical"),
    [
        ("", ""),
        ("maxResults=10", "maxResults=10"),
        ("b=1&a=2&a=1", "a=1&a=2&b=1"),
        ("a-=1&a=2", "a=2&a-=1"),
        ("a", "a="),
        ("&&a=1&", "a=1"),
        ("a=b=c==", "a=b%3Dc%3D%3D"),
        ("a=x+y&b=%2b", "a=x%20y&b=%2B"),
        ("a=arn:aws/%7e%c3%a9", "a=arn%3Aaws%2F~%C3%A9"),
        ("a=%zz%", "a=%25zz%25"),
    ],
)
def test_the_query_is_sorted_and_spelt_one_way(query_string: str, canonical: str) -> None:
    assert sigv4.canonical_query(query_string) == canonical


def test_over_http_2_the_authority_is_signed_under_its_own_name() -> None:
    request = HttpRequest(
        method="POST",
        raw_path="/model/a/converse-stream",
        headers={
            "host": "127.0.0.1:8787",
            "x-amz-date": "20261122T010203Z",
            "authorization": (
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/bedrock/aws4_request,"
                " SignedHeaders=:authority;x-amz-date, Signature=00"
            ),
        },
    )

    canonical = sigv4.canonical_request(request, authorization.read(request))

    assert canonical.splitlines()[3:7] == [
        ":authority:127.0.0.1:8787",
        "x-amz-date:20261122T010203Z",
        "",
        ":authority;x-amz-date",
    ]


def test_a_signed_header_that_did_not_arrive_counts_as_empty() -> None:
    request = Signer().sign(headers={"X-Lost": ""})
    without = {name: value for name, value in request.headers.items() if name != "x-lost"}

    verified(msgspec.structs.replace(request, headers=without))


def test_the_host_counts_as_received_even_without_its_port() -> None:
    request = Signer().sign(headers={"Host": "127.0.0.1"})

    assert request.headers["host"] == "127.0.0.1"
    verified(request)


def test_an_unsigned_payload_is_accepted_as_the_signer_says() -> None:
    request = Signer().sign(
        "POST", "/model/a/invoke", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    )

    verified(msgspec.structs.replace(request, body=b"anything"))


def test_a_payload_hash_that_is_not_the_bodys_does_not_verify() -> None:
    request = Signer().sign(
        "POST", "/model/a/invoke", headers={"X-Amz-Content-SHA256": "0" * 64}, body=b"{}"
    )

    with pytest.raises(InvalidSignatureException, match="does not match"):
        verified(request)


@pytest.mark.parametrize(
    "claimed",
    [
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-EVENTS",
    ],
)
def test_a_payload_signed_in_chunks_is_refused_clearly(claimed: str) -> None:
    request = Signer().sign(
        "POST", "/model/a/invoke", headers={"X-Amz-Content-SHA256": claimed}, body=b"0\r\n\r\n"
    )

    with pytest.raises(InvalidSignatureException) as refusal:
        verified(request)

    assert refusal.value.message == (
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, or a valid sha256 value."
        f" A payload signed in chunks ({claimed}) is not supported."
    )


def test_a_wrong_signature_is_answered_with_what_should_have_been_signed() -> None:
    request = Signer(secret_access_key="another").sign("GET", "/inference-profiles/a%3A0?b=2&a=1")
    timestamp = request.headers["x-amz-date"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    canonical = (
        "GET\n/inference-profiles/a%253A0\na=1&b=2\n"
        f"host:127.0.0.1:8787\nx-amz-date:{timestamp}\n\nhost;x-amz-date\n{empty}"
    )

    with pytest.raises(InvalidSignatureException) as refusal:
        verified(request)

    scope = authorization.Scope("", timestamp[:8], "us-east-1", "bedrock")
    assert refusal.value.message == (
        "The request signature we calculated does not match the signature you provided."
        " Check your AWS Secret Access Key and signing method."
        " Consult the service documentation for details."
        f"\n\nThe Canonical String for this request should have been\n'{canonical}'"
        "\n\nThe String-to-Sign should have been"
        f"\n'{sigv4.string_to_sign(canonical, timestamp, scope)}'\n"
    )
