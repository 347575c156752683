"""Asking the broker: one Take at a time, replaced when it became wrong."""

from __future__ import annotations

from celeriac.core.engine.aside import appetite_of_all
from celeriac.core.engine.effects import Take
from celeriac.core.engine.events import Now
from celeriac.core.engine.prefetch import appetite
from celeriac.core.engine.state import Out, State


def hunger(state: State, now: Now, out: Out) -> None:
    """Ask for what the children have room for."""
    asked = state.asked
    if state.stopping:
        room, idle, hungry = 0, 0, False
    elif state.mixed:
        room, idle, hungry = appetite_of_all(state, now)
        # With a budget that refills all the time, each look would find a little more room.
        idle //= 2
    else:
        room, idle, hungry = appetite(state, state.home)
    limit = min(max(0, room), state.policy.batch_max)
    if asked:
        if limit < asked or asked < min(idle, limit):
            state.asked = limit
            out.take = Take(limit)
    elif hungry and limit > 0:
        state.asked = limit
        out.take = Take(limit)
