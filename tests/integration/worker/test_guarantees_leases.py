"""What is held stays held while its holder lives, and completions count once."""

from __future__ import annotations

from proof import leases
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_long_tasks_run_once_under_a_short_lease(stage: Stage) -> None:
    leases.long_tasks_run_once(stage, lease_s=1, task_s=4)


def test_a_completion_is_recorded_once_when_its_node_stops_before_acknowledging(stage: Stage) -> None:
    leases.late_words_of_a_stopped_node_count_for_nothing(stage, rounds=2, lease_s=1, seed=1)
