"""How the model tests are run: random histories, how long and how many.

The machines that make them need Hypothesis and are imported only when they run, so that every suite can be imported
where it is not installed.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from celeriac.testing.client_program import load
from celeriac.testing.needed import EXTRA

EXAMPLES_VARIABLE = "CELERIAC_TEST_EXAMPLES"
"""How many random histories a model test tries; more are a longer proof."""

_EXAMPLES = 50


def run_histories(machine: str, bench: Any, steps: int, *, same: bool) -> None:
    """Run the state machine ``module:name`` on stores of `bench`. Fails, naming what to install, without Hypothesis.

    There are as many histories as ``CELERIAC_TEST_EXAMPLES`` says.

    :param steps: how long a history is at most
    :param same: the same ones each time, shown as they are; otherwise others each time, made short when they fail
    """
    try:
        from hypothesis import HealthCheck, Phase, settings
        from hypothesis.stateful import run_state_machine_as_test
    except ImportError:
        pytest.fail(f"the model test needs Hypothesis: pip install '{EXTRA}'", pytrace=False)
    run_state_machine_as_test(
        type("Machine", (load(machine),), {"bench": bench}),
        settings=settings(
            max_examples=int(os.environ.get(EXAMPLES_VARIABLE, str(_EXAMPLES))),
            stateful_step_count=steps,
            # A store may be slow on a loaded machine; what is slow is not wrong.
            deadline=None,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
            # The histories of one store mean nothing to another one with the same test.
            database=None,
            derandomize=same,
            phases=(Phase.generate,) if same else (Phase.generate, Phase.shrink),
        ),
    )
