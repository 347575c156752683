"""Jobs that wait for the results of others: meanwhile their slots are free, so that what they wait for finds one.

A child that hosts many jobs gets one more in flight for each that waits. Where the child is the slot, another child
stands in for it (`staffing`). Both are bounded: beyond that, what is waited for waits for a slot like everything else.
"""

from __future__ import annotations

from celeriac.core.engine.breaking import begun
from celeriac.core.engine.effects import Note
from celeriac.core.engine.events import Now, Resumes, Waits
from celeriac.core.engine.prefetch import take_back_waiting
from celeriac.core.engine.staffing import staff
from celeriac.core.engine.state import Child, Flight, Out, Pool, State

_NOTE_S = 60.0
"""That more jobs wait than others can stand in for is noted this often."""


def on_waits(state: State, event: Waits, now: Now, out: Out) -> None:
    """A job waits from now on."""
    child = state.children.get(event.child)
    flight = child.flights.get(event.seq) if child is not None else None
    if child is None or flight is None or flight.waiting or flight.confirming:
        return
    if flight.started_at is None:
        begun(state, child, flight, now.monotonic, now, out)
    flight.waiting = True
    child.waits += 1
    pool = child.home
    if pool.shared:
        _widen(state, child)
        bounded = child.slots < child.base + child.waits
    else:
        # What stands behind it in its child is perhaps what it waits for.
        child.blocked = True
        take_back_waiting(state, child, now.monotonic, out)
        staff(state, pool, now, out)
        bounded = sum(1 for host in pool.hosts if host.waits) > state.policy.extra_max
    if bounded:
        _note(pool, now, out)


def on_resumes(state: State, event: Resumes, now: Now, out: Out) -> None:
    """A job goes on."""
    child = state.children.get(event.child)
    flight = child.flights.get(event.seq) if child is not None else None
    if child is not None and flight is not None and flight.waiting:
        stop_waiting(state, child, flight, now, out)


def stop_waiting(state: State, child: Child, flight: Flight, now: Now, out: Out) -> None:
    """A job that waited goes on, or is over: it needs its slot again, or none."""
    flight.waiting = False
    child.waits -= 1
    if child.home.shared:
        _widen(state, child)
    else:
        staff(state, child.home, now, out)


def _widen(state: State, child: Child) -> None:
    child.slots = child.base + min(child.waits, max(state.policy.extra_max, child.base))


def _note(pool: Pool, now: Now, out: Out) -> None:
    if now.monotonic - pool.noted_at >= _NOTE_S:
        pool.noted_at = now.monotonic
        text = "More tasks wait for the results of others than can be stood in for: they may wait for each other."
        out.effects.append(Note("warning", "waits_unserved", text, {"pool": pool.name}))
