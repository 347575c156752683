"""State that outlives every process lies in the store, and weighs nothing in workers."""

from __future__ import annotations

from proof import letters, weights
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_dead_letters_are_found_and_revived_one_by_one_and_in_bulk(stage: Stage) -> None:
    letters.dead_letters_are_found_and_revived(stage, letters=4)


def test_tasks_cancelled_without_workers_never_run(stage: Stage) -> None:
    letters.cancelled_tasks_never_run(stage, tasks=5, workers=10)


def test_tasks_due_next_week_weigh_nothing(stage: Stage) -> None:
    weights.future_tasks_weigh_nothing(stage, tasks=20_000, watched_s=1.5, growth_kib_max=4096)
