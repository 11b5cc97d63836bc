from typing import Any

import msgspec
import pytest

from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.runtime.dialects.dialect import Complaint
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.failures import in_stream, of_complaint, of_silence, untold
from outcrop.wire.errors import (
    ModelErrorException,
    ModelStreamErrorException,
    ThrottlingException,
)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FailureKind.REFUSED, "ServiceUnavailableException"),
        (FailureKind.BROKE_OFF, "ServiceUnavailableException"),
        (FailureKind.BUSY, "ServiceUnavailableException"),
        (FailureKind.NOT_READY, "ModelNotReadyException"),
        (FailureKind.TIMED_OUT, "ModelTimeoutException"),
    ],
)
def test_silence_has_a_name_for_its_reason_and_tells_nothing_of_the_inside(
    kind: FailureKind, name: str
) -> None:
    error = of_silence(ServerFailureError("gpu", kind, "/secret/path"))

    assert error.name == name
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (408, "ModelTimeoutException"),
        (413, "ValidationException"),
        (422, "ValidationException"),
        (429, "ThrottlingException"),
        (500, "ModelErrorException"),
        (502, "ModelErrorException"),
        (503, "ServiceUnavailableException"),
        (504, "ModelTimeoutException"),
        (529, "ServiceUnavailableException"),
    ],
)
def test_a_complaint_is_the_error_that_its_status_means(status: int, name: str) -> None:
    assert of_complaint(Complaint(status, "no"), "m").name == name


def test_in_a_stream_the_callers_errors_stay_and_the_rest_is_the_models() -> None:
    throttled = ThrottlingException("slow down")
    overloaded = of_complaint(Complaint(529, "no"), "m")
    failed = in_stream(
        ModelErrorException("x", originalStatusCode=500, resourceName="m"), told=True
    )

    assert in_stream(throttled, told=True) is throttled
    assert in_stream(overloaded, told=True) is overloaded
    assert failed.name == "ModelStreamErrorException"
    assert failed.members == {"originalStatusCode": 500, "originalMessage": "x"}


def test_a_server_that_breaks_off_without_a_word_breaks_the_stream() -> None:
    silent = of_silence(ServerFailureError("gpu", FailureKind.BROKE_OFF))

    failed = in_stream(silent, told=False)

    assert failed.name == "ModelStreamErrorException"
    assert failed.members["originalStatusCode"] == 503


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"originalStatusCode": 408, "originalMessage": "late"}, "ModelTimeoutException"),
        ({"originalStatusCode": 500}, "ModelErrorException"),
        ({"originalStatusCode": 503}, "ServiceUnavailableException"),
        ({}, "ModelErrorException"),
    ],
)
def test_an_answer_in_one_piece_that_amazons_own_stream_broke_off_has_an_ordinary_error(
    members: dict[str, Any], name: str
) -> None:
    broken = ModelStreamErrorException("m", **members)

    assert untold(broken, "m").name == name


@pytest.mark.parametrize(
    ("code", "status"),
    [(503, 503), ("401", 401), (20012, 400), ("1302", 400), (200, 400), ("bad", 400), (None, 400)],
)
def test_a_code_in_a_complaint_counts_where_it_is_a_status(code: Any, status: int) -> None:
    body = msgspec.json.encode({"error": {"message": "no", "code": code}})

    assert OpenAiChat().complaint(400, body).status == status
