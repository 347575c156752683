"""Ending workers costs nothing."""

from __future__ import annotations

from proof import stops
from proof.stage import Stage, empty_stage

__all__ = ["empty_stage"]


def test_a_storm_of_stops_loses_and_repeats_nothing(stage: Stage) -> None:
    stops.stop_storm_repeats_nothing(stage, tasks=300, stops=8, run_s=0.02, seed=11)


def test_what_fits_in_the_grace_period_finishes_and_the_rest_is_handed_back(stage: Stage) -> None:
    stops.stopping_finishes_what_fits(stage, grace_s=1.0, rounds=4)
