"""Time as Bedrock writes it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from outcrop.wire.timestamps import from_micros, iso8601, to_micros

WHOLE = datetime(2024, 11, 29, 13, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (WHOLE, "2024-11-29T13:23:00Z"),
        (WHOLE.replace(microsecond=5000), "2024-11-29T13:23:00.005000Z"),
        (WHOLE.astimezone(timezone(timedelta(hours=2))), "2024-11-29T13:23:00Z"),
    ],
)
def test_a_moment_has_no_or_six_fractional_digits(moment: datetime, text: str) -> None:
    assert iso8601(moment) == text


@pytest.mark.parametrize("micros", [0, 1, -1, 1732886580000001, 253402300799999999])
def test_microseconds_are_exact_both_ways(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros
