"""Whole clusters under a fake clock: whatever goes wrong, the rules of safety and of promptness hold."""

from __future__ import annotations

import pytest

from celeriac.testing.simulator import simulate
from celeriac.testing.simulator_plan import MIXED_FROM
from simulation.seeds import FAILED

CHUNK = 100
"""Seeds per test: so many that the tests can be spread, so few that a failure names its neighbourhood."""


def assert_rules_hold(seeds) -> None:
    for seed in seeds:
        report = simulate(seed)
        assert not report.violations, report.text()


@pytest.mark.parametrize("seed", sorted(FAILED))
def test_what_once_failed_holds(seed):
    assert_rules_hold([seed])


@pytest.mark.parametrize("first", range(0, 1500, CHUNK))
def test_a_cluster_loses_nothing_repeats_nothing_and_is_prompt(first):
    assert_rules_hold(range(first, first + CHUNK))


@pytest.mark.parametrize("first", range(MIXED_FROM, MIXED_FROM + 500, CHUNK // 2))
def test_a_cluster_of_several_pools_does_so_too(first):
    assert_rules_hold(range(first, first + CHUNK // 2))


@pytest.mark.proof
@pytest.mark.parametrize("first", range(MIXED_FROM + 10_000, MIXED_FROM + 20_000, 250))
def test_ten_thousand_clusters_of_several_pools_lose_nothing(first):
    assert_rules_hold(range(first, first + 250))


@pytest.mark.proof
@pytest.mark.parametrize("first", range(10_000, 30_000, 500))
def test_twenty_thousand_clusters_lose_nothing(first):
    assert_rules_hold(range(first, first + 500))


def test_a_seed_always_gives_the_same_run():
    assert simulate(7).history == simulate(7).history


def test_the_clusters_meet_everything_that_can_go_wrong():
    """The plans must not grow tame: each kind of trouble occurs in a handful of seeds."""
    seen = {fact.what for seed in range(60) for fact in simulate(seed).history}
    assert seen >= {
        "acked",
        "began",
        "buried",
        "cancelled",
        "child_died",
        "claimed",
        "concluding",
        "counted",
        "crashed",
        "cut",
        "exit",
        "interrupt",
        "kill",
        "knows_lost",
        "node_exited",
        "node_hung",
        "node_killed",
        "node_resumed",
        "recall",
        "released",
        "retire",
        "stale",
        "stop",
    }


def test_the_clusters_of_several_pools_meet_everything_that_they_are_for():
    seen = {fact.what for seed in range(MIXED_FROM, MIXED_FROM + 20) for fact in simulate(seed).history}
    assert seen >= {"aside", "concluding", "crashed", "interrupt", "resumes", "retire", "waits"}
