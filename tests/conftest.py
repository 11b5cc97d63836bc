"""No secret of any test is told: not by a server, nor by what runs in the tests' own process."""

import gc
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.scheduling import Scheduling
from tests.secrets_in_play import leaks, watch_clients

# Other tests run beside each example: how long one takes says nothing.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _clients_are_watched() -> Iterator[None]:
    end = watch_clients()
    yield
    end()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    # How many tests a file has says nothing of how long they take.
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """The collector passes over what was made so far: ten thousand tests, which stay to the end."""
    gc.collect()
    gc.freeze()


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
