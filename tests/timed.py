"""Tests of how long something may take, on machines that do other things besides."""

import pytest

timed = pytest.mark.flaky(reruns=2)
"""What takes too long takes too long three times; a machine that stands still for once does not."""
