from outcrop.server.app import LONGEST_SKIPPED, SKIPPED, _with_skipped
from outcrop.wire.http import HttpResponse
from tests.runtime.requests import invocation


def test_what_was_skipped_is_told_in_ascii_and_in_bounds() -> None:
    made = invocation()
    made.skipped += ["gpu-ü: timed out"] * 100

    headers = _with_skipped(HttpResponse(status=200, headers={}), made).headers

    assert headers[SKIPPED].startswith("gpu-?: timed out, gpu-?: timed out")
    assert len(headers[SKIPPED]) == LONGEST_SKIPPED


def test_nothing_is_told_when_nobody_was_skipped() -> None:
    assert _with_skipped(HttpResponse(status=200, headers={}), invocation()).headers == {}
