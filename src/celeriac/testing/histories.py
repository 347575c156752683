"""How long and how many the random histories of the model tests are."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES_VARIABLE = "CELERIAC_TEST_EXAMPLES"
"""How many random histories a model test tries; more are a longer proof."""

_EXAMPLES = 50


def history_settings(steps: int, *, same: bool) -> settings:
    """Histories of up to `steps` steps, as many as ``CELERIAC_TEST_EXAMPLES`` says.

    :param same: the same ones each time, shown as they are; otherwise others each time, made short when they fail
    """
    return settings(
        max_examples=int(os.environ.get(EXAMPLES_VARIABLE, str(_EXAMPLES))),
        stateful_step_count=steps,
        # A store may be slow on a loaded machine; what is slow is not wrong.
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
        # The histories of one store mean nothing to another one with the same test.
        database=None,
        derandomize=same,
        phases=(Phase.generate,) if same else (Phase.generate, Phase.shrink),
    )
