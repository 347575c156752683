"""The children of a node: started, up, asked to leave, killed."""

from __future__ import annotations

from celeriac.core.engine.dispatch import not_begun, recall
from celeriac.core.engine.effects import Kill, Retire, Spawn
from celeriac.core.engine.events import ChildUp, Now
from celeriac.core.engine.prefetch import first_depth
from celeriac.core.engine.state import END, LINGER_S, NEIGHBOURS_S, RETIRE_WAIT_S, SPARE, Child, Out, Pool, State

_RESPAWN_FIRST_S = 0.5
"""Pause before the second attempt to start a child that dies at its start; it doubles from there."""
_DOUBLINGS_MAX = 20
"""Keeps the power of two finite."""


def respawn_delay_s(failures: int, most_s: float) -> float:
    """Pause before starting a child anew after so many that died at their start: 0, 0.5, 1, 2, ..."""
    if failures <= 1:
        return 0.0
    return min(most_s, _RESPAWN_FIRST_S * 2.0 ** min(failures - 2, _DOUBLINGS_MAX))


def spawn(state: State, out: Out, pool: Pool, failures: int = 0, *, alone: bool = False) -> None:
    """Start one child."""
    child = Child(state.next_child, pool, failures, alone=alone)
    state.next_child += 1
    state.children[child.id] = child
    (pool.alone if alone else pool.hosts).append(child)
    out.effects.append(Spawn(child.id, pool.name))


def spawn_due(state: State, now: Now, out: Out) -> None:
    """Start the children whose time has come."""
    due = [start for start in state.spawns if start.at <= now.monotonic]
    state.spawns = [start for start in state.spawns if start.at > now.monotonic]
    for start in due:
        spawn(state, out, start.pool, start.failures, alone=start.alone)


def kill(child: Child, out: Out) -> None:
    """End a child at once. What runs in it and has no final state of its own is innocent."""
    if child.killed:
        return
    child.killed = True
    child.leaving = True
    out.effects.append(Kill(child.id))


def condemn(state: State, child: Child, now: Now, out: Out) -> None:
    """A job in this child does not end: replace the child, let the neighbours finish, then kill it."""
    if child.condemned or child.killed:
        return
    if all(flight.broken or flight.started_at is None for flight in child.flights.values()):
        kill(child, out)
        return
    child.condemned = True
    child.leaving = True
    if child.replace and not state.stopping:
        child.replace = False
        spawn(state, out, child.home)
    flights = not_begun(child)
    if flights:
        recall(child, flights, out)
    state.alarm(now.monotonic + NEIGHBOURS_S, END, child.id)


def leave_if_empty(state: State, child: Child, now: Now, out: Out) -> None:
    """Let a leaving child go when nothing is left in it, or nothing that ends by itself."""
    if child.condemned and all(flight.broken for flight in child.flights.values()):
        kill(child, out)
    elif child.up and not child.flights and not child.retired and not child.killed:
        child.retired = True
        out.effects.append(Retire(child.id))
        state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)


def retiring(state: State, child: Child, now: Now, out: Out) -> None:
    """A child ends by itself. Where other jobs still run in it, that can take long: its replacement starts already."""
    child.leaving = True
    child.retired = True
    state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)
    if not child.home.shared:
        return
    # It gives back what it had when it decided to end; what was on its way then must be asked for.
    flights = not_begun(child)
    if flights:
        recall(child, flights, out)
    if child.flights and child.replace and not state.stopping:
        child.replace = False
        spawn(state, out, child.home)


def rest(state: State, child: Child, now: Now) -> None:
    """From now on, a child stays only if it finds a purpose before long."""
    child.rests_from = now.monotonic
    if not child.resting:
        child.resting = True
        state.alarm(now.monotonic + LINGER_S, SPARE, child.id)


def on_child_up(state: State, event: ChildUp, now: Now, out: Out) -> None:
    """A child can work."""
    child = state.children.get(event.child)
    if child is None or child.up:
        return
    child.up = True
    child.base = child.slots = max(1, event.slots)
    child.depth = first_depth(state, child)
    child.progress_at = now.monotonic
    if child.alone:
        rest(state, child, now)
    if child.leaving:
        leave_if_empty(state, child, now, out)
