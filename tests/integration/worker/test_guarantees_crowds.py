"""What one worker does at once."""

from __future__ import annotations

import pytest

from proof import crowds
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


@pytest.mark.timeout(120)
def test_ten_thousand_waits_of_a_second_are_done_by_one_worker_within_fifteen(stage: Stage) -> None:
    crowds.many_waits_at_once(stage, tasks=10_000, wait_s=1.0, within_s=15)
