"""The guarantees in full size: `make proof`. Each has its small form in ``tests/integration/worker``."""

from __future__ import annotations

import os
import random

import pytest

from . import clients, faults, kills, leases, letters, promptness, stops, weights
from .stage import Stage

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

SIZE = float(os.environ.get("CELERIAC_PROOF_SIZE", "1"))
"""A part of the full size, to see that these forms work: 0.01 runs all in minutes."""


def sized(count: float, least: int = 1) -> int:
    """A count at the size asked for."""
    return max(least, int(count * SIZE))


def test_ten_minute_tasks_run_once_under_a_lease_of_five_seconds(stage: Stage) -> None:
    leases.long_tasks_run_once(stage, lease_s=5, task_s=max(6.0, 600 * SIZE))


def test_completions_are_recorded_once_when_nodes_stop_before_acknowledging(stage: Stage) -> None:
    leases.late_words_of_a_stopped_node_count_for_nothing(stage, rounds=sized(20, 2), lease_s=2, seed=41)


def test_a_hundred_random_kills_during_ten_thousand_tasks(stage: Stage) -> None:
    kills.random_kills_lose_nothing(stage, tasks=sized(10_000, 500), kills=sized(100, 10), run_s=0.03, seed=42)


@pytest.mark.parametrize("victim", ["tree", "node", "main"])
def test_hundreds_of_unstarted_tasks_of_a_dead_worker_start_elsewhere(stage: Stage, victim: str) -> None:
    kills.unstarted_tasks_of_the_dead_start_elsewhere(stage, tasks=60, within_s=10, victim=victim)


def test_a_hundred_thousand_future_tasks_survive_fifty_rolling_kills(stage: Stage) -> None:
    kills.future_tasks_fire_once(
        stage, tasks=sized(100_000, 500), kills=sized(50, 3), due_in_s=max(10.0, 120 * SIZE), seed=43
    )


def test_a_long_storm_of_stops(stage: Stage) -> None:
    stops.stop_storm_repeats_nothing(stage, tasks=sized(10_000, 300), stops=sized(100, 6), run_s=0.02, seed=44)


def test_many_stops_in_a_long_grace_period(stage: Stage) -> None:
    stops.stopping_finishes_what_fits(stage, grace_s=max(1.0, 10 * SIZE), rounds=sized(10, 4))


def test_what_a_hundred_dying_clients_were_told_is_stored(stage: Stage) -> None:
    clients.confirmed_is_stored(stage, clients=sized(100, 5), chance=random.Random(45))


def test_clients_die_while_they_wait(stage: Stage) -> None:
    clients.clients_die_anywhere(stage, rounds=sized(50, 3), chance=random.Random(46))


@pytest.mark.parametrize("fault", sorted(clients.FAULTS))
def test_a_store_that_is_away_for_a_minute(stage: Stage, fault: str) -> None:
    clients.sending_without_a_store_fails_in_time(stage, fault=fault, calls=sized(30, 3), absent_s=max(3.0, 60 * SIZE))


def test_ten_thousand_waits_end_while_the_database_is_locked_at_random(stage: Stage) -> None:
    clients.every_wait_ends(stage, waits=sized(10_000, 200), threads=16, seed=47)


def test_forty_dead_letters_are_found_and_revived(stage: Stage) -> None:
    letters.dead_letters_are_found_and_revived(stage, letters=sized(40, 3))


def test_hundreds_of_tasks_cancelled_without_workers_never_run(stage: Stage) -> None:
    letters.cancelled_tasks_never_run(stage, tasks=sized(500, 5), workers=10)


def test_no_child_idles_during_a_million_tasks(stage: Stage) -> None:
    kills.no_child_idles_while_work_waits(
        stage, tasks=sized(1_000_000, 10_000), kills=sized(1000, 3), import_s=1.0, idle_max_s=10, seed=48
    )


def test_a_minute_of_import_starts_fine(stage: Stage) -> None:
    weights.slow_imports_start_fine(stage, import_s=max(2.0, 60 * SIZE))


def test_a_million_tasks_due_next_week_weigh_nothing(stage: Stage) -> None:
    weights.future_tasks_weigh_nothing(
        stage, tasks=sized(1_000_000, 10_000), watched_s=max(2.0, 60 * SIZE), growth_kib_max=4096
    )


def test_nobody_waits_beside_a_free_slot_for_minutes(stage: Stage) -> None:
    promptness.nobody_waits_while_a_slot_is_free(stage, rounds=sized(100, 5), seed=49)


def test_a_hundred_jumps_of_the_wall_clock(stage: Stage) -> None:
    chance = random.Random(50)
    jumps = [chance.randint(-40_000, 40_000) for _ in range(sized(100, 3))]
    faults.clock_jumps_do_no_harm(stage, jumps=jumps, lease_s=1)


def test_a_disk_that_is_full_for_long(stage: Stage) -> None:
    faults.a_full_disk_is_waited_out(stage, room_kib=sized(65_536, 8192), tasks=8)
