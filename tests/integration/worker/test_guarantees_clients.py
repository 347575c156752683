"""What clients are told is true, and they are told in time."""

from __future__ import annotations

import random

import pytest

from proof import clients
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_what_was_confirmed_is_stored_whenever_the_client_dies(stage: Stage) -> None:
    clients.confirmed_is_stored(stage, clients=6, chance=random.Random(2))


def test_clients_that_die_while_they_wait_harm_nobody(stage: Stage) -> None:
    clients.clients_die_anywhere(stage, rounds=2, chance=random.Random(6))


@pytest.mark.parametrize("fault", sorted(clients.FAULTS))
def test_sending_without_a_store_fails_in_time_and_all_resume(stage: Stage, fault: str) -> None:
    clients.sending_without_a_store_fails_in_time(stage, fault=fault, calls=3, absent_s=4)


def test_every_wait_ends_while_the_database_is_locked_at_random(stage: Stage) -> None:
    clients.every_wait_ends(stage, waits=500, threads=8, seed=4)
