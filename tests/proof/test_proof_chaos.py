"""The shipped proof in full size; the small form is ``tests/integration/test_chaos.py``."""

from __future__ import annotations

import pytest

from celeriac.testing.chaos import Plan, as_json, run
from integration.worker.conftest import SCALE

from .test_proof_workers import sized

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("pool", "tasks", "workers"),
    [("prefork", 50_000, 8), ("threads", 10_000, 4), ("asyncio", 10_000, 4), ("mixed", 10_000, 4)],
)
def test_a_kill_each_second_loses_and_repeats_nothing(pool: str, tasks: int, workers: int) -> None:
    plan = Plan(
        tasks=sized(tasks, 2_000),
        workers=workers,
        pool=pool,
        kill_each_s=1.0,
        recovery_max_s=10.0 * SCALE,
        seed=51,
    )
    outcome = run(plan)
    print(as_json(outcome, plan))
    assert outcome.report.problems == ()
    assert (outcome.report.lost, outcome.report.doubled) == (0, 0)
    assert outcome.report.succeeded + outcome.report.given_up == plan.tasks
