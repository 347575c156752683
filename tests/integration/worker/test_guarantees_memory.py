"""A node does not grow with the number of tasks: the small form, and that it would be noticed if it did."""

from __future__ import annotations

import pytest

from proof import memory
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]

_TASKS = 100_000
_WARM_UP = 30_000


@pytest.mark.timeout(120)
def test_a_node_does_not_grow_with_the_tasks_it_has_seen(stage: Stage) -> None:
    bound = memory.slope_mb_max(_TASKS, _WARM_UP)
    memory.the_node_stays_as_it_is(stage, tasks=_TASKS, warm_up=_WARM_UP, slope_mb_max=bound)


@pytest.mark.timeout(120)
def test_a_node_that_keeps_a_hundred_bytes_of_each_task_is_found_out(stage: Stage) -> None:
    bound = memory.slope_mb_max(_TASKS, _WARM_UP)
    with pytest.raises(AssertionError, match="the node grows by"):
        memory.the_node_stays_as_it_is(
            stage, tasks=_TASKS // 2, warm_up=_WARM_UP // 2, slope_mb_max=bound, leak_bytes=100
        )
