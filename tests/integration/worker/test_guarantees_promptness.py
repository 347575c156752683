"""Nobody waits in vain."""

from __future__ import annotations

from proof import promptness, weights
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_no_task_waits_while_a_slot_is_free(stage: Stage) -> None:
    promptness.nobody_waits_while_a_slot_is_free(stage, rounds=6, seed=8)


def test_a_slow_import_is_waited_for_however_children_start(stage: Stage) -> None:
    weights.slow_imports_start_fine(stage, import_s=1.5)
