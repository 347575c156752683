"""The way to the end: nothing new, what has not begun goes back, what runs may finish within the grace."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from celeriac.core.engine.children import kill, leave_if_empty
from celeriac.core.engine.dispatch import not_begun, recall
from celeriac.core.engine.effects import Exit
from celeriac.core.engine.events import Now, Stop
from celeriac.core.engine.settling import hand_back, settle_bare
from celeriac.core.engine.state import CONFIRM_WAIT_S, Flight, Out, State


def on_stop(state: State, event: Stop, now: Now, out: Out) -> None:
    """Begin to end, or hasten the end."""
    ends_at = inf if event.grace_s is None else now.monotonic + event.grace_s
    state.ends_at = min(state.ends_at, ends_at)
    state.code = event.code
    if state.stopping:
        return
    state.stopping = True
    state.spawns.clear()
    _empty_lines(state, out, all_of_it=False)
    for child in state.children.values():
        if not child.up:
            kill(child, out)
            continue
        # What is acknowledged has nowhere to go back to: it was given to an idle slot and begins at once.
        flights = [f for f in not_begun(child) if not f.acked and not f.concluding]
        if flights:
            recall(child, flights, out)


def drain(state: State, now: Now, out: Out) -> None:
    """Go on with ending, as far as it goes now."""
    t = now.monotonic
    if t >= state.ends_at and not state.over:
        state.over = True
        for child in state.children.values():
            if child.flights:
                kill(child, out)
    _empty_lines(state, out, all_of_it=state.over)
    if state.confirming and t < state.ends_at + CONFIRM_WAIT_S:
        return
    if any(state.lines) or any(f for c in state.children.values() for f in c.flights.values() if not f.confirming):
        return
    for child in state.children.values():
        if child.flights:
            child.flights.clear()
        child.leaving = True
        leave_if_empty(state, child, now, out)
    state.confirming.clear()
    if not state.children:
        state.exited = True
        out.exit = Exit(state.code)


def _empty_lines(state: State, out: Out, *, all_of_it: bool) -> None:
    for pool in state.pools.values():
        for line, children in ((pool.backlog, pool.hosts), (pool.suspects, pool.alone)):
            if line:
                nobody = not any(child.up and not child.killed for child in children)
                kept = _kept(line, out, all_of_it=all_of_it or nobody)
                line.clear()
                line.extend(kept)


def _kept(line: Iterable[Flight], out: Out, *, all_of_it: bool) -> list[Flight]:
    """Hand back what has not begun; keep what must come to its end here, unless all must go."""
    kept: list[Flight] = []
    for flight in line:
        if not all_of_it and (flight.concluding or flight.acked):
            kept.append(flight)
        elif flight.concluding:
            settle_bare(out, flight)
        else:
            hand_back(out, flight)
    return kept
