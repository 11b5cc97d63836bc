"""No secret of any test is told: not by a server, nor by what runs in the tests' own process."""

from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from tests.secrets_in_play import leaks, watch_clients

# Other tests run beside each example: how long one takes says nothing.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _clients_are_watched() -> Iterator[None]:
    end = watch_clients()
    yield
    end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged or printed while a test ran is part of its report."""
    report = yield
    if report.passed:
        told = leaks((report.caplog + report.capstdout + report.capstderr).encode())
        if told:
            report.outcome = "failed"
            report.longrepr = f"was logged or printed: {', '.join(told)}"
    return report
