"""The way to the end: nothing new, what has not begun goes back, what runs may finish within the grace."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from celeriac.core.engine.children import kill, leave_if_empty
from celeriac.core.engine.dispatch import not_begun, recall
from celeriac.core.engine.effects import Exit, Note
from celeriac.core.engine.events import Now, Stop
from celeriac.core.engine.settling import hand_back, settle_bare
from celeriac.core.engine.state import CONFIRM_WAIT_S, Flight, Out, State

_WAITS_NOTE_S = 2.0
"""What waits for a task that runs elsewhere may well go on within this time."""


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
    _tell_of_waits(state, t, out)
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


def _tell_of_waits(state: State, t: float, out: Out) -> None:
    """Say once what a node is waiting for whose jobs all wait for others.

    They are not cut short: whether another worker runs what they wait for is not known here, and a job that is handed
    back sends it all once more when it runs again.
    """
    if state.waits_noted or state.over:
        state.waits_note_at = inf
        return
    left = [child for child in state.children.values() if child.flights]
    if not left or any(child.waits < len(child.flights) for child in left):
        state.waits_note_at = inf
        return
    state.waits_note_at = min(state.waits_note_at, t + _WAITS_NOTE_S)
    if t < state.waits_note_at:
        return
    state.waits_noted = True
    state.waits_note_at = inf
    text = (
        "All tasks that still run wait for the results of others, and none begins here any more: if no other worker runs "
        "those, these are given back when the grace is over."
    )
    flights = [flight for child in left for flight in child.flights.values()]
    fields: dict[str, object] = {"running": len(flights), "tasks": sorted({flight.head.task for flight in flights})}
    if state.ends_at < inf:
        fields["grace_left_s"] = round(state.ends_at - t, 1)
    out.effects.append(Note("warning", "stop_waits", text, fields))
