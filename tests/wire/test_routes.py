"""Every URI of both models finds its operation; nothing else does."""

import pytest
from msgspec import json

from outcrop.wire.routes import Routes, unknown_operation
from outcrop.wire.shapes import bedrock, bedrock_runtime

ROWS = [*bedrock.OPERATIONS, *bedrock_runtime.OPERATIONS]
ROUTES = Routes(ROWS)
ARN = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/1jxlkskto2ug"


def filled(uri: str, value: str) -> tuple[str, dict[str, str]]:
    segments = uri.split("/")
    labels = {segment[1:-1]: value for segment in segments if segment.startswith("{")}
    return "/".join(value if s.startswith("{") else s for s in segments), labels


@pytest.mark.parametrize(("name", "method", "uri"), ROWS, ids=lambda value: value.strip("/"))
def test_every_uri_of_the_models_finds_its_operation(name: str, method: str, uri: str) -> None:
    path, labels = filled(uri, "some-id")

    assert ROUTES.match(method, path) == (name, labels)


@pytest.mark.parametrize(("name", "method", "uri"), ROWS, ids=lambda value: value.strip("/"))
def test_another_method_or_an_empty_label_finds_nothing(name: str, method: str, uri: str) -> None:
    path, labels = filled(uri, "")

    assert ROUTES.match("OPTIONS", filled(uri, "some-id")[0]) is None
    assert ROUTES.match(method.lower(), filled(uri, "some-id")[0]) is None
    assert ROUTES.match(method, filled(uri, "some-id")[0] + "/") is None
    assert not labels or ROUTES.match(method, path) is None


@pytest.mark.parametrize(
    "sent",
    [
        ARN.replace("/", "%2F"),
        ARN.replace("/", "%2f").replace(":", "%3A"),
        ARN.replace("/", "%2F").replace(":", "%3a"),
    ],
)
def test_an_arn_arrives_however_its_colons_and_slash_are_encoded(sent: str) -> None:
    match = ROUTES.match("GET", f"/inference-profiles/{sent}")

    assert match == ("GetInferenceProfile", {"inferenceProfileIdentifier": ARN})


def test_labels_are_decoded_once() -> None:
    match = ROUTES.match("GET", "/inference-profiles/a%252Fb+c")

    assert match == ("GetInferenceProfile", {"inferenceProfileIdentifier": "a%2Fb+c"})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "*",
        "inference-profiles",
        "/inference-profiles/",
        "//inference-profiles",
        f"/inference-profiles/{ARN}",
        "/Inference-Profiles",
        "/inference-profiles?maxResults=1",
        "/inference-profile",
        "/model/a/b/converse",
        "/model//converse",
        "/model/a/./converse",
    ],
)
def test_what_no_uri_describes_finds_nothing(path: str) -> None:
    assert ROUTES.match("GET", path) is None
    assert ROUTES.match("POST", path) is None


def test_a_label_that_is_no_utf_8_is_left_for_validation_to_refuse() -> None:
    match = ROUTES.match("GET", "/inference-profiles/%ff")

    assert match == ("GetInferenceProfile", {"inferenceProfileIdentifier": "\ufffd"})


def test_a_fixed_segment_is_preferred_to_a_label() -> None:
    routes = Routes([("any", "GET", "/a/{b}"), ("fixed", "GET", "/a/b")])

    assert routes.match("GET", "/a/b") == ("fixed", {})
    assert routes.match("GET", "/a/c") == ("any", {"b": "c"})


def test_an_unknown_path_is_answered_with_amazons_document() -> None:
    response = unknown_operation()

    assert response.status == 200
    assert isinstance(response.body, bytes)
    assert json.decode(response.body) == {
        "Output": {"__type": "com.amazon.coral.service#UnknownOperationException"},
        "Version": "1.0",
    }
