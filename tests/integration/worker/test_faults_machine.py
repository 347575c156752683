"""Memory that ends, clocks that jump, and death in every place."""

from __future__ import annotations

import pytest

from proof import faults
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_a_leaking_task_that_the_kernel_kills_is_buried_alone(stage: Stage) -> None:
    faults.the_kernel_kills_who_leaks(stage, room_mb=150)


def test_a_leaking_task_that_a_watcher_kills_is_buried_alone(stage: Stage) -> None:
    faults.a_watcher_kills_who_leaks(stage, size_mb=150)


def test_a_task_that_hits_a_memory_limit_is_buried_alone(stage: Stage) -> None:
    faults.who_hits_a_memory_limit_is_buried(stage, room_mb=100)


def test_jumps_of_the_wall_clock_do_no_harm(stage: Stage) -> None:
    faults.clock_jumps_do_no_harm(stage, jumps=[7200, -7200, 43200], lease_s=1)


@pytest.mark.parametrize("loaded", [False, True], ids=["idle", "loaded"])
@pytest.mark.parametrize("victim", ["child", "node", "main", "all"])
def test_any_death_at_any_moment_is_survived(stage: Stage, victim: str, loaded: bool) -> None:
    faults.any_death_at_any_moment(stage, victim=victim, loaded=loaded)
