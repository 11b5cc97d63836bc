import pytest

from tests.clocks import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
