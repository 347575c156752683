"""How much to reserve: about the work of the next tenth of a second, learnt, and taken back when the guess was wrong."""

from __future__ import annotations

from itertools import islice
from math import inf

from celeriac.core.engine.dispatch import recall, waiting
from celeriac.core.engine.events import Now
from celeriac.core.engine.state import EPSILON_S, Child, Out, State

_SLOWER = 0.5
_FASTER = 0.25
"""Weight of the newest batch in the average: a child that becomes slow must be believed sooner than one that
becomes fast, for it is the one behind which others wait."""
_PATIENCE = 2.0
"""A job that waits this many times `reserve_s` in a child shows that the guess was wrong, whoever is running."""


def first_depth(state: State, child: Child) -> int:
    """How many jobs a child should have at once as long as it has finished nothing; for ever if prefetch is pinned."""
    multiplier = state.policy.prefetch_multiplier
    if multiplier is None:
        return child.slots
    return multiplier * child.slots if multiplier > 0 else max(child.slots, state.policy.depth_max)


def learn(state: State, now: Now) -> None:
    """Take this step's finished jobs into the averages of their children, and settle how many these should have."""
    t = now.monotonic
    policy = state.policy
    for child in state.learning:
        sample = max(0.0, t - child.progress_at) / child.done
        average = child.avg_s
        if average is None:
            average = sample
        else:
            average += (sample - average) * (_SLOWER if sample > average else _FASTER)
        child.avg_s = average
        child.done = 0
        child.blocked = False
        child.progress_at = t
        if not state.pinned:
            wanted = policy.reserve_s / average if average > 0 else inf
            most = max(child.slots, policy.depth_max)
            child.depth = max(child.slots, int(min(wanted, child.depth * 2, most)))
        if child.flights:
            child.look_at = min(child.look_at, t + policy.overrun_s)
    state.learning.clear()


def look(state: State, now: Now, out: Out) -> None:
    """Find children whose jobs overrun, and ask back what waits behind them."""
    t = now.monotonic
    overrun_s = state.policy.overrun_s
    for child in state.children.values():
        if child.look_at > t + EPSILON_S:
            continue
        held = len(child.flights)
        if not held:
            child.look_at = inf
        elif t - child.progress_at >= overrun_s - EPSILON_S:
            child.blocked = held >= child.slots
            take_back_waiting(state, child, t, out)
            # Jobs that were not seen to begin have no time limit yet: the shell looks before each Tick.
            child.look_at = t + overrun_s if child.seen < min(held, child.slots) else inf
        else:
            first = next(islice(child.flights.values(), child.slots, None), None)
            if first is not None and t - first.sent_at >= _PATIENCE * state.policy.reserve_s - EPSILON_S:
                take_back_waiting(state, child, t, out)
            child.look_at = child.progress_at + overrun_s


def take_back_waiting(state: State, child: Child, t: float, out: Out) -> None:
    """Ask back what waits behind the jobs of this child."""
    flights = waiting(child)
    if not flights or child.killed:
        return
    if not state.pinned:
        release_at = max(t, child.progress_at + state.policy.hand_back_s)
        for flight in flights:
            if not flight.concluding and not flight.acked:
                flight.release_at = release_at
    recall(child, flights, out)
