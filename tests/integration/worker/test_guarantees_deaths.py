"""Nothing is lost, and nothing is recorded twice, whoever dies."""

from __future__ import annotations

import pytest

from proof import kills
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_random_kills_lose_nothing_and_record_nothing_twice(stage: Stage) -> None:
    kills.random_kills_lose_nothing(stage, tasks=500, kills=10, run_s=0.03, seed=7)


@pytest.mark.parametrize("victim", ["tree", "node", "main"])
def test_unstarted_tasks_of_a_dead_worker_start_elsewhere(stage: Stage, victim: str) -> None:
    kills.unstarted_tasks_of_the_dead_start_elsewhere(stage, tasks=40, within_s=10, victim=victim)


def test_future_tasks_survive_rolling_kills_and_fire_once(stage: Stage) -> None:
    kills.future_tasks_fire_once(stage, tasks=500, kills=5, due_in_s=4, seed=3)


def test_no_child_idles_while_work_waits(stage: Stage) -> None:
    kills.no_child_idles_while_work_waits(stage, tasks=20_000, kills=5, import_s=0.5, idle_max_s=10, seed=5)
