"""What all tests share: the scale of time bounds, and a wait on a condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

SCALE = float(os.environ.get("CELERIAC_TEST_SCALE", "1"))
"""Multiplies every bound on time; raise it on a slow or busy machine."""

# Deadlines of single examples measure the machine, not the code.
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("proof", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

Eventually = Callable[..., None]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds: `eventually(lambda: queue.empty(), within_s=5)`; fails when it never does."""

    def wait(condition: Callable[[], object], within_s: float = 10.0, what: str = "the condition") -> None:
        ends_at = time.monotonic() + within_s * SCALE
        while not condition():
            if time.monotonic() > ends_at:
                pytest.fail(f"{what} did not hold within {within_s * SCALE:g} s")
            time.sleep(0.005)

    return wait
