"""Disks that fill and files that break, under running workers."""

from __future__ import annotations

from proof import faults
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_a_full_disk_is_said_and_waited_out(stage: Stage) -> None:
    faults.a_full_disk_is_waited_out(stage, room_kib=8192, tasks=4)


def test_a_limit_on_the_size_of_files_is_waited_out(stage: Stage) -> None:
    faults.a_file_size_limit_is_waited_out(stage, tasks=20)


def test_damage_under_a_running_worker_is_said_and_outlived(stage: Stage) -> None:
    faults.damage_under_a_running_worker_is_told(stage)


def test_a_damaged_file_at_start_is_told(stage: Stage) -> None:
    faults.a_damaged_file_at_start_is_told(stage)
