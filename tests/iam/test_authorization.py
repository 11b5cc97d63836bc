from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from outcrop.iam import authorization
from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpRequest
from tests.iam.signing import Signer

NOW = datetime(2026, 11, 22, 12, 36, tzinfo=UTC)
AT_NOW = "20261122T123600Z"
CREDENTIAL = "AKIDEXAMPLE/20261122/us-east-1/bedrock/aws4_request"
HEADER = f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature=ab"


def with_header(header: str | None, **headers: str) -> HttpRequest:
    sent = {"host": "h", "x-amz-date": AT_NOW, **headers}
    if header is not None:
        sent["authorization"] = header
    return HttpRequest(method="GET", raw_path="/", headers=sent)


def presigned(**changes: str | None) -> HttpRequest:
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": CREDENTIAL.replace("/", "%2F"),
        "X-Amz-Date": AT_NOW,
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "ab",
        **{f"X-Amz-{name}": value for name, value in changes.items()},
    }
    query_string = "&".join(f"{name}={value}" for name, value in parameters.items() if value)
    return HttpRequest(method="GET", raw_path="/", query_string=query_string, headers={"host": "h"})


def checked(request: HttpRequest, now: datetime = NOW) -> authorization.Scope:
    presented = authorization.read(request)
    timestamp = authorization.signed_at(presented, now)
    return authorization.scope(presented, timestamp, "bedrock")


def refused(request: HttpRequest, now: datetime = NOW) -> tuple[str, int, str]:
    with pytest.raises(AwsError) as refusal:
        checked(request, now)
    error = refusal.value
    return error.name, error.status, error.message


def shown(header: str) -> str:
    return b64encode(sha256(header.encode()).digest()).decode()


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        HEADER.replace(", ", ","),
        HEADER.replace(", ", " ,  "),
        HEADER.replace(", ", " "),
        f"AWS4-HMAC-SHA256   Signature=ab,SignedHeaders=host;x-amz-date,Credential={CREDENTIAL}",
        HEADER.replace("aws4_request", "aws4_request/"),
        HEADER.replace("host;x-amz-date", ":authority;x-amz-date"),
        HEADER.replace("host;x-amz-date", "Host;X-Amz-Date"),
    ],
)
def test_a_header_is_read_in_every_spacing_and_order(header: str) -> None:
    scope = checked(with_header(header))

    assert scope == authorization.Scope("AKIDEXAMPLE", "20261122", "us-east-1", "bedrock")
    assert str(scope) == "20261122/us-east-1/bedrock/aws4_request"


def test_a_presigned_query_is_read() -> None:
    request = presigned(**{"Security-Token": "a%2Bb", "Content-Sha256": "UNSIGNED-PAYLOAD"})

    presented = authorization.read(request)

    assert presented.credential == CREDENTIAL
    assert presented.expires_s == 900
    assert presented.security_token == "a+b"
    assert presented.content_sha256 == "UNSIGNED-PAYLOAD"
    assert checked(request).access_key_id == "AKIDEXAMPLE"


def test_another_spelling_of_a_signed_parameter_reads_the_same() -> None:
    request = presigned(Expires=None)
    respelt = HttpRequest(
        method="GET",
        raw_path="/",
        query_string=f"{request.query_string}&X%2DAmz-Expires=60",
        headers=request.headers,
    )

    assert authorization.read(respelt).expires_s == 60


def test_a_request_without_authorization_is_refused() -> None:
    assert refused(with_header(None)) == (
        "AccessDeniedException",
        403,
        "Authorization header is missing",
    )


def test_header_and_query_at_once_are_refused() -> None:
    request = presigned()
    both = HttpRequest(
        method="GET",
        raw_path="/",
        query_string=request.query_string,
        headers={"host": "h", "authorization": HEADER},
    )

    assert refused(both) == (
        "InvalidSignatureException",
        403,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
    )


@pytest.mark.parametrize(
    "header",
    [
        "Basic dXNlcjpwYXNz",
        f"AWS4-HMAC-SHA256 Credential= {CREDENTIAL}, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential, SignedHeaders=host, Signature=ab",
        f"{HEADER},{HEADER}",
        f"{HEADER}, Signature=cd",
    ],
)
def test_what_is_no_list_of_pairs_is_refused_and_not_repeated(header: str) -> None:
    assert refused(with_header(header)) == (
        "IncompleteSignatureException",
        400,
        (
            "Invalid key=value pair (missing equal-sign) in Authorization header"
            f" (hashed with SHA-256 and encoded with Base64): '{shown(header)}'."
        ),
    )


def test_a_header_must_begin_with_the_algorithm() -> None:
    assert refused(with_header("x-api-key=abc")) == (
        "IncompleteSignatureException",
        400,
        (
            "Authorization header must begin with the algorithm name,"
            " which cannot include an equal-sign"
        ),
    )


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("eyJhbGciOi", ["Credential", "Signature", "SignedHeaders"]),
        (" , ", ["Credential", "Signature", "SignedHeaders"]),
        ("AWS4-HMAC-SHA256 Credential=a", ["Signature", "SignedHeaders"]),
        ("AWS4-HMAC-SHA256 SignedHeaders=a, Signature=", ["Credential", "Signature"]),
        ("AWS4-HMAC-SHA256 Credential=a, Signature=b", ["SignedHeaders"]),
    ],
)
def test_every_missing_parameter_is_named(header: str, missing: list[str]) -> None:
    sentences = "".join(f"Authorization header requires '{name}' parameter. " for name in missing)

    assert refused(with_header(header)) == (
        "IncompleteSignatureException",
        400,
        f"{sentences}(Hashed with SHA-256 and encoded with Base64) Authorization={shown(header)}",
    )


def test_a_missing_date_is_named() -> None:
    assert refused(with_header(HEADER, **{"x-amz-date": ""})) == (
        "IncompleteSignatureException",
        400,
        (
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
            f"(Hashed with SHA-256 and encoded with Base64) Authorization={shown(HEADER)}"
        ),
    )


@pytest.mark.parametrize("name", ["Credential", "Signature", "SignedHeaders", "Date"])
def test_a_missing_query_parameter_is_named(name: str) -> None:
    assert refused(presigned(**{name: None})) == (
        "IncompleteSignatureException",
        400,
        (
            f"AWS query-string parameters must include 'X-Amz-{name}'."
            " Re-examine the query-string parameters."
        ),
    )


def test_an_algorithm_without_a_value_is_a_missing_query_parameter() -> None:
    request = HttpRequest(
        method="GET", raw_path="/", query_string="X-Amz-Algorithm=", headers={"host": "h"}
    )

    _, _, message = refused(request)

    assert message.startswith("AWS query-string parameters must include 'X-Amz-Algorithm'. ")
    assert message.endswith("'X-Amz-Date'. Re-examine the query-string parameters.")


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 22 Nov 2026 12:36:00 GMT",
        "Sun, 22 Nov 2026 12:36:00 -0000",
        "Sun, 22 Nov 2026 13:36:00 +0100",
        AT_NOW,
    ],
)
def test_the_date_header_serves_where_there_is_no_x_amz_date(date: str) -> None:
    presented = authorization.read(with_header(HEADER, **{"x-amz-date": "", "date": date}))

    assert authorization.signed_at(presented, NOW) == AT_NOW


@pytest.mark.parametrize(
    "date",
    [
        "zzz",
        "2026-11-22T12:36:00Z",
        "20261122T123600",
        "20261322T123600Z",
        "20261122T123600Z,20261122T123600Z",
        "\u0662\u0660\u0662\u0666\u0661\u0661\u0662\u0662T123600Z",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 1 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_date_that_is_none_is_refused(date: str) -> None:
    assert refused(with_header(HEADER, **{"x-amz-date": date})) == (
        "IncompleteSignatureException",
        400,
        (
            f"Date must be in ISO-8601 'basic format'. Got '{date}'."
            " See http://en.wikipedia.org/wiki/ISO_8601"
        ),
    )


@pytest.mark.parametrize("off_s", [-300, 0, 300])
def test_five_minutes_of_skew_are_allowed_either_way(off_s: int) -> None:
    presented = authorization.read(with_header(HEADER))

    assert authorization.signed_at(presented, NOW + timedelta(seconds=off_s)) == AT_NOW


def test_a_signature_older_than_five_minutes_is_refused() -> None:
    assert refused(with_header(HEADER), NOW + timedelta(seconds=301)) == (
        "InvalidSignatureException",
        403,
        (
            "Signature expired: 20261122T123600Z is now earlier than 20261122T123601Z"
            " (20261122T124101Z - 5 min.)"
        ),
    )


def test_a_signature_from_beyond_five_minutes_ahead_is_refused() -> None:
    assert refused(with_header(HEADER), NOW - timedelta(seconds=301)) == (
        "InvalidSignatureException",
        403,
        (
            "Signature not yet current: 20261122T123600Z is still later than 20261122T123559Z"
            " (20261122T123059Z + 5 min.)"
        ),
    )


@pytest.mark.parametrize("expires_s", [1, 900, 604_800])
def test_a_presigned_query_lives_as_long_as_it_says(expires_s: int) -> None:
    request = presigned(Expires=str(expires_s))

    assert checked(request, NOW + timedelta(seconds=expires_s)).date == "20261122"
    assert refused(request, NOW + timedelta(seconds=expires_s + 1))[2].startswith(
        "Signature expired: 20261122T123600Z is now earlier than 20261122T123601Z"
    )


def test_an_expired_presigned_query_is_told_its_lifetime() -> None:
    _, _, message = refused(presigned(), NOW + timedelta(hours=1))

    assert message == (
        "Signature expired: 20261122T123600Z is now earlier than 20261122T132100Z"
        " (20261122T133600Z - 15 min.)"
    )


def test_a_presigned_query_without_a_lifetime_has_five_minutes() -> None:
    request = presigned(Expires=None)

    assert checked(request, NOW + timedelta(minutes=5)).date == "20261122"
    assert "- 5 min.)" in refused(request, NOW + timedelta(seconds=301))[2]


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        ("soon", "X-Amz-Expires should be a number"),
        ("1.5", "X-Amz-Expires should be a number"),
        ("9" * 5_000, "X-Amz-Expires should be a number"),
        ("0", "X-Amz-Expires must be positive"),
        ("-1", "X-Amz-Expires must be positive"),
        (
            "604801",
            (
                "X-Amz-Expires must be less than a week (in seconds);"
                " that is, the given X-Amz-Expires must be less than 604800 seconds"
            ),
        ),
    ],
)
def test_a_lifetime_out_of_bounds_is_refused(expires: str, message: str) -> None:
    assert refused(presigned(Expires=expires)) == (
        "IncompleteSignatureException",
        400,
        message,
    )


def test_the_host_must_be_signed() -> None:
    assert refused(with_header(HEADER.replace("host;", "hosts;"))) == (
        "InvalidSignatureException",
        403,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    )


@pytest.mark.parametrize("algorithm", ["AWS4-ECDSA-P256-SHA256", "aws4-hmac-sha256", "AWS3-HTTPS"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    message = f"Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). "

    header = HEADER.replace("AWS4-HMAC-SHA256", algorithm)

    assert refused(with_header(header)) == ("IncompleteSignatureException", 400, message)
    assert refused(presigned(Algorithm=algorithm)) == ("IncompleteSignatureException", 400, message)


@pytest.mark.parametrize("credential", ["AKIDEXAMPLE", "a/b/c/d", "a/b/c/d/e/f", "/"])
def test_a_credential_has_five_elements(credential: str) -> None:
    assert refused(with_header(HEADER.replace(CREDENTIAL, credential))) == (
        "IncompleteSignatureException",
        400,
        (
            "Credential must have exactly 5 slash-delimited elements,"
            f" e.g. keyid/date/region/service/term, got '{credential}'"
        ),
    )


@pytest.mark.parametrize(
    ("credential", "message"),
    [
        (
            "AKID/20261122/nowhere/bedrock/aws4_request",
            "Credential should be scoped to a valid region. ",
        ),
        (
            "AKID/20261122//bedrock/aws4_request",
            "Credential should be scoped to a valid region. ",
        ),
        (
            "AKID/20261122/us-east-1/bedrock-runtime/aws4_request",
            "Credential should be scoped to correct service: 'bedrock'. ",
        ),
        (
            "AKID/20261122/us-east-1/bedrock/aws5_request",
            "Credential should be scoped with a valid terminator: 'aws4_request'. ",
        ),
        (
            "AKID/20261121/us-east-1/bedrock/aws4_request",
            (
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
                " from HTTP: '20261121' != '20261122', from '20261122T123600Z'."
            ),
        ),
        (
            "AKID/1/2/3/4",
            (
                "Credential should be scoped to a valid region."
                " Credential should be scoped to correct service: 'bedrock'."
                " Credential should be scoped with a valid terminator: 'aws4_request'."
                " Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
                " from HTTP: '1' != '20261122', from '20261122T123600Z'."
            ),
        ),
    ],
)
def test_everything_wrong_with_the_scope_is_said(credential: str, message: str) -> None:
    name, status, said = refused(with_header(HEADER.replace(CREDENTIAL, credential)))

    assert (name, status, said) == ("InvalidSignatureException", 403, message)


@pytest.mark.parametrize(
    "region",
    ["us-east-1", "ap-southeast-7", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"],
)
def test_every_kind_of_region_is_accepted(region: str) -> None:
    header = HEADER.replace("us-east-1", region)

    assert checked(with_header(header)).region == region


def test_no_refusal_repeats_a_secret() -> None:
    request = Signer(service="s3").sign(headers={"X-Amz-Security-Token": "secret-token"})

    _, _, message = refused(request, datetime(2000, 1, 1, tzinfo=UTC))

    assert "secret-token" not in message


_LATIN_1 = st.text(st.characters(max_codepoint=255), max_size=200)
_PIECES = st.lists(
    st.sampled_from(
        [
            *("AWS4-HMAC-SHA256", " ", ",", "=", ";", "/", "%", "Credential=", "SignedHeaders="),
            *("Signature=", CREDENTIAL, "host", "X-Amz-Algorithm=", "&", "X-Amz-Expires=", "+"),
            *(
                "X-Amz-Credential=",
                "X-Amz-Date=",
                AT_NOW,
                "X-Amz-Signature=",
                "X-Amz-SignedHeaders=",
            ),
        ]
    )
    | _LATIN_1,
    max_size=24,
).map("".join)


def read_or_refused(request: HttpRequest) -> bool:
    try:
        return checked(request).service == "bedrock"
    except AwsError as refusal:
        return 400 <= refusal.status < 500


@given(header=_LATIN_1 | _PIECES, date=_LATIN_1 | st.just(AT_NOW))
def test_whatever_a_header_says_is_read_or_refused(header: str, date: str) -> None:
    headers = {"host": "h", "x-amz-date": date, "authorization": header}

    assert read_or_refused(HttpRequest(method="GET", raw_path="/", headers=headers))


@given(query=_LATIN_1 | _PIECES)
def test_whatever_a_query_says_is_read_or_refused(query: str) -> None:
    text = f"X-Amz-Algorithm={query}"

    assert read_or_refused(
        HttpRequest(method="GET", raw_path="/", query_string=text, headers={"host": "h"})
    )


@given(at=st.integers(0, len(HEADER) - 1), to=st.characters(max_codepoint=255))
def test_a_damaged_header_is_read_or_refused(at: int, to: str) -> None:
    assert read_or_refused(with_header(HEADER[:at] + to + HEADER[at + 1 :]))
