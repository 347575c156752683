"""Millions of tasks and crowds of them, in full size: `make proof`. Small forms: ``tests/integration/worker``."""

from __future__ import annotations

import pytest

from . import crowds, memory
from .stage import Stage
from .test_proof_workers import sized

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


def test_five_million_tasks_leave_nothing_in_the_memory_of_the_node(stage: Stage) -> None:
    tasks = sized(5_000_000, 100_000)
    # What a process keeps for its largest batches comes slowly.
    warm_up = sized(1_000_000, 30_000)
    memory.the_node_stays_as_it_is(
        stage, tasks=tasks, warm_up=warm_up, slope_mb_max=memory.slope_mb_max(tasks, warm_up)
    )


def test_ten_thousand_waits_of_a_second_are_done_by_one_worker_within_fifteen(stage: Stage) -> None:
    crowds.many_waits_at_once(stage, tasks=10_000, wait_s=1.0, within_s=15)
