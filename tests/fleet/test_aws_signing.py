"""Botocore signs, we sign: the same headers. And Outcrop's own verifier believes them."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, strategies as st

from outcrop.fleet.aws_signing import AwsCredentials, S3Request, signed_headers, signed_s3_headers
from outcrop.iam import authorization, sigv4
from outcrop.wire.http import HttpRequest

NOW = datetime(2026, 11, 22, 12, 30, 5, 999, tzinfo=UTC)
HOST = "bedrock-runtime.us-west-2.amazonaws.com"
LASTING = AwsCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
PASSING = AwsCredentials("ASIAIOSFODNN7EXAMPLE", "secret", "IQoJb3JpZ2luX2VjEXAMPLE/+==")
MODEL = "arn:aws:bedrock:us-west-2:111122223333:inference-profile/us.amazon.nova-lite-v1:0"
PATH = f"/model/{quote(MODEL, safe='')}/converse-stream"


def signed(path: str, body: bytes, credentials: AwsCredentials) -> dict[str, str]:
    return signed_headers(
        path, body, host=HOST, region="us-west-2", credentials=credentials, now=NOW
    )


def signed_by_botocore(path: str, body: bytes, credentials: AwsCredentials) -> dict[str, str]:
    """Its steps in its order, at our moment."""
    request = AWSRequest("POST", f"https://{HOST}{path}", data=body)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    key = Credentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )
    signer = SigV4Auth(key, "bedrock", "us-west-2")
    signer._modify_request_before_signing(request)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("credentials", [LASTING, PASSING])
@pytest.mark.parametrize("path", [PATH, "/model/m/converse-stream", "/below/model/m%3A0/converse"])
def test_botocore_signs_the_same(path: str, credentials: AwsCredentials) -> None:
    body = '{"messages":"Köln"}'.encode()

    assert signed(path, body, credentials) == signed_by_botocore(path, body, credentials)


# A path loses a segment of dots alone; no model has such a name.
MODELS = st.text(min_size=1, max_size=60).filter(lambda model: model not in {".", ".."})


@given(MODELS, st.binary(max_size=60))
def test_botocore_signs_the_same_for_any_model_and_body(model: str, body: bytes) -> None:
    path = f"/model/{quote(model, safe='-_.~')}/converse-stream"

    assert signed(path, body, PASSING) == signed_by_botocore(path, body, PASSING)


def test_outcrop_believes_the_signature() -> None:
    body = b"{}"
    headers = {"host": HOST, **signed(PATH, body, LASTING)}
    request = HttpRequest(method="POST", raw_path=PATH, headers=headers, body=body)
    presented = authorization.read(request)
    timestamp = authorization.signed_at(presented, NOW)
    scope = authorization.scope(presented, timestamp, "bedrock")
    key = sigv4.SigningKey(LASTING.secret_access_key, scope)

    sigv4.verify(request, presented, timestamp=timestamp, key=key)

    assert scope.region == "us-west-2"


@pytest.mark.parametrize("credentials", [LASTING, PASSING])
@pytest.mark.parametrize("query", ["", "uploads=", "partNumber=2&uploadId=a%2Bb"])
@given(st.binary(max_size=50), st.text(min_size=1, max_size=20))
def test_s3_is_signed_as_botocore_signs_it(
    credentials: AwsCredentials, query: str, body: bytes, key: str
) -> None:
    path = f"/bucket/{quote(key, safe='/-_.~')}"
    given_headers = {"content-type": "application/json"}
    asked = S3Request(
        method="PUT", host="s3.test", path=path, query=query, headers=given_headers, body=body
    )

    ours = signed_s3_headers(asked, region="eu-west-1", credentials=credentials, now=NOW)

    url = f"https://s3.test{path}" + (f"?{query}" if query else "")
    request = AWSRequest("PUT", url, data=body, headers=given_headers)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    request.context["payload_signing_enabled"] = True
    signing_key = Credentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )
    signer = S3SigV4Auth(signing_key, "s3", "eu-west-1")
    signer._modify_request_before_signing(request)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    assert ours["authorization"] == request.headers["Authorization"]
