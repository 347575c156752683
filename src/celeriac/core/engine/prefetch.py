"""How much to reserve: about the work of the next tenth of a second, learnt, and taken back when the guess was wrong."""

from __future__ import annotations

from itertools import islice
from math import inf

from celeriac.core.engine.dispatch import recall, waiting
from celeriac.core.engine.effects import Take
from celeriac.core.engine.events import Now
from celeriac.core.engine.state import Child, Out, State

_SLOWER = 0.5
_FASTER = 0.25
"""Weight of the newest batch in the average: a child that becomes slow must be believed sooner than one that
becomes fast, for it is the one behind which others wait."""
_PATIENCE = 2.0
"""A job that waits this many times `reserve_s` in a child shows that the guess was wrong, whoever is running."""
_EPSILON_S = 1e-6


def depth_of(state: State, child: Child) -> int:
    """How many jobs this child should have at once, by its average."""
    policy = state.policy
    slots = child.slots
    multiplier = policy.prefetch_multiplier
    if multiplier is not None:
        return multiplier * slots if multiplier > 0 else max(slots, policy.depth_max)
    if child.avg_s is None:
        return slots
    wanted = policy.reserve_s / child.avg_s if child.avg_s > 0 else inf
    most = max(slots, policy.depth_max)
    return max(slots, int(min(wanted, child.depth * 2, most)))


def learn(state: State, now: Now) -> None:
    """Take this step's finished jobs into each child's average."""
    t = now.monotonic
    for child in state.children.values():
        done = child.done
        if not done:
            continue
        sample = max(0.0, t - child.progress_at) / done
        old = child.avg_s
        if old is None:
            child.avg_s = sample
        else:
            child.avg_s = old + (sample - old) * (_SLOWER if sample > old else _FASTER)
        child.done = 0
        child.blocked = False
        child.progress_at = t
        child.depth = depth_of(state, child)
        if child.flights:
            child.look_at = min(child.look_at, t + state.policy.overrun_s)


def look(state: State, now: Now, out: Out) -> None:
    """Find children whose jobs overrun, and ask back what waits behind them."""
    t = now.monotonic
    overrun_s = state.policy.overrun_s
    for child in state.children.values():
        if child.look_at > t + _EPSILON_S:
            continue
        held = len(child.flights)
        if not held:
            child.look_at = inf
        elif t - child.progress_at >= overrun_s - _EPSILON_S:
            child.blocked = held >= child.slots
            _take_back_waiting(state, child, t, out)
            # Jobs that were not seen to begin have no time limit yet: the shell looks before each Tick.
            child.look_at = t + overrun_s if child.seen < min(held, child.slots) else inf
        else:
            first = next(islice(child.flights.values(), child.slots, None), None)
            if first is not None and t - first.sent_at >= _PATIENCE * state.policy.reserve_s - _EPSILON_S:
                _take_back_waiting(state, child, t, out)
            child.look_at = child.progress_at + overrun_s


def _take_back_waiting(state: State, child: Child, t: float, out: Out) -> None:
    flights = waiting(child)
    if not flights or child.killed:
        return
    if not state.pinned:
        release_at = max(t, child.progress_at + state.policy.hand_back_s)
        for flight in flights:
            if not flight.concluding and not flight.acked:
                flight.release_at = release_at
    recall(child, flights, out)


def hunger(state: State, out: Out) -> None:
    """Ask the broker for what the children have room for: one Take at a time, replaced when it became wrong."""
    room, idle, hungry = _room(state)
    limit = min(room, state.policy.batch_max)
    asked = state.asked
    if asked:
        if limit < asked or asked < min(idle, limit):
            state.asked = limit
            out.take = Take(limit)
    elif hungry and limit > 0:
        state.asked = limit
        out.take = Take(limit)


def _room(state: State) -> tuple[int, int, bool]:
    """How many more jobs fit, how many of them into idle slots, and whether to ask for them now."""
    if state.stopping:
        return 0, 0, False
    room = idle = 0
    hungry = False
    for child in state.ready():
        held = len(child.flights)
        free = child.slots - held
        depth = child.slots if child.blocked else max(child.depth, child.slots)
        idle += max(0, free)
        room += max(0, depth - held)
        if free > 0 or held * 2 < depth:
            hungry = True
    waiting_ = len(state.backlog)
    room = max(0, room - waiting_)
    idle = max(0, idle - waiting_)
    if state.once_share and not state.pinned:
        # Those that promise at most once need an idle slot each: take no more than will find one, or wait for the next.
        most = int(idle / state.once_share) if idle else int(1.0 / state.once_share) - 1
        room = min(room, max(idle, most))
    return room, idle, hungry
