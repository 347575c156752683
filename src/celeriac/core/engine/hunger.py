"""Asking the broker: one Take at a time, replaced when it became wrong."""

from __future__ import annotations

from celeriac.core.engine.aside import bound, room_to_come
from celeriac.core.engine.effects import Take
from celeriac.core.engine.events import Now
from celeriac.core.engine.state import Out, State


def hunger(state: State, now: Now, out: Out) -> None:
    """Ask for what the children have room for.

    Per pool, `room` is how many more jobs fit, `idle` how many of them into idle slots, both less than none if more are
    held than fit; it is time to ask when a slot is idle, or a child has less than half of what it should.
    """
    total = idle_slots = surplus = 0
    least = state.policy.batch_max
    hungry = False
    for pool in () if state.stopping else state.pools.values():
        room = idle = -len(pool.backlog)
        wants = pool.dormant
        up = False
        for child in pool.hosts:
            if not child.up or child.leaving:
                continue
            up = True
            held = len(child.flights)
            slots = child.slots
            depth = slots if child.blocked or child.depth < slots else child.depth
            if slots > held:
                idle += slots - held
                wants = True
            if depth > held:
                room += depth - held
                if held * 2 < depth:
                    wants = True
        if not up:
            room += room_to_come(pool, now)
        elif pool.once_share and not state.pinned:
            room = min(room, _room_for_once(idle, pool.once_share))
        if room > 0:
            total += room
            least = min(least, room)
            hungry = hungry or wants
        else:
            least = 0
            surplus -= room
        if idle > 0:
            idle_slots += idle
    if state.mixed:
        total = bound(state, now, total, least, surplus, hungry=hungry)
        # With a budget that refills all the time, each look would find a little more room.
        idle_slots //= 2
    limit = min(total, state.policy.batch_max)
    asked = state.asked
    if asked:
        if limit < asked or asked < min(idle_slots, limit):
            state.asked = limit
            out.take = Take(limit)
    elif hungry and limit > 0:
        state.asked = limit
        out.take = Take(limit)


def _room_for_once(idle: int, share: float) -> int:
    """Those that promise at most once need an idle slot each: no more than will find one, or wait for the next."""
    return max(idle, int(idle / share)) if idle > 0 else int(1.0 / share) - 1
