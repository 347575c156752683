"""Several pools behind one Take: a full pool must not keep the others from their work, nor make the node go in circles.

What the node takes may turn out to be for a pool that has no room. It is then set aside: held for a moment, and handed
back un-penalised to its place in the queue, where any other node finds it at once. So the node sees as far past a full
pool as it may hold messages at a time. Their number is budgeted: the node asks for no more messages than would be set
aside at worst, and begins to look past a full pool when the budget is whole again.
"""

from __future__ import annotations

from math import inf

from celeriac.core.engine.effects import SettleItem
from celeriac.core.engine.events import Now
from celeriac.core.engine.settling import hand_back, settle_bare
from celeriac.core.engine.state import START_WAIT_S, Flight, Out, Pool, State
from celeriac.model.message import Release

_REST_S = 0.2
"""After something was set aside the next look past a full pool waits at least so long: others may want it meanwhile."""
_ALONE_AFTER_MAX_S = 10.0
"""Longest pause before the next delivery of a task that must run alone and found no place."""


def refill(state: State, now: Now) -> float:
    """How many messages may be set aside now. The budget is of half a second, so that no second sees more than its due."""
    most = state.policy.aside_max / 2
    state.aside = min(most, state.aside + max(0.0, now.monotonic - state.aside_at) * most)
    state.aside_at = now.monotonic
    return state.aside


def bound(state: State, now: Now, total: int, least: int, surplus: int, *, hungry: bool) -> int:
    """How many messages to ask for when all pools together have room for `total`, the fullest one for `least`, and
    `surplus` are held for which there is no room."""
    state.refill_at = inf
    t = now.monotonic
    if not total or not any(child.up for child in state.children.values()):
        return 0
    budget = refill(state, now) - surplus - sum(len(pool.suspects) for pool in state.pools.values())
    if least:
        return min(total, least + max(0, int(budget)))
    at = state.rest_at
    if surplus <= 0:
        # A new look begins with the whole budget, so that it reaches as far as it may.
        most = state.policy.aside_max / 2
        at = max(at, t + (most - state.aside) / most)
    if at > t:
        if hungry:
            state.refill_at = at
        return 0
    # Most of it may be for the full pool: what the others have room for is no bound here.
    return max(0, int(budget))


def room_to_come(pool: Pool, now: Now) -> int:
    """How much room a pool will have soon that is started on demand, as long as none of its children is up."""
    coming = now.monotonic < pool.started_at + START_WAIT_S and any(
        not child.failures and not child.leaving for child in pool.hosts
    )
    return pool.target * pool.policy.slots if pool.dormant or coming else 0


def release_overdue(state: State, pool: Pool, out: Out, now: Now) -> None:
    """Hand back what found no slot in time; settle bare what found no child to conclude it."""
    # With no child, and none to come, nobody will ever take it.
    served = pool.hosts or pool.dormant or any(start.pool is pool for start in state.spawns)
    t = now.monotonic if served else inf
    if pool.started_at > -inf and not any(child.up for child in pool.hosts):
        for flight in pool.backlog:
            flight.release_at = max(flight.release_at, pool.started_at + START_WAIT_S)
    for line in (pool.backlog, pool.suspects):
        if not any(flight.release_at <= t for flight in line):
            continue
        kept = [flight for flight in line if flight.release_at > t]
        overdue = [flight for flight in line if flight.release_at <= t]
        for flight in overdue:
            _release(state, flight, now, out, alone=line is pool.suspects)
        line.clear()
        line.extend(kept)


def _release(state: State, flight: Flight, now: Now, out: Out, *, alone: bool) -> None:
    pause_s = 0.0
    if alone:
        # It comes to the same place again, where others like it wait, too.
        pause_s = min(_ALONE_AFTER_MAX_S, state.policy.alone_s * flight.arrival.delivery.receipt.attempt)
    elif state.mixed:
        # Also what had room and lost it is handed back here: debts would keep the node from looking for long.
        state.aside = max(0.0, refill(state, now) - 1)
        state.rest_at = now.monotonic + _REST_S
    if flight.concluding:
        settle_bare(out, flight, pause_s)
    elif pause_s and not flight.acked:
        out.items.append(SettleItem(flight.receipt, Release(pause_s)))
    else:
        hand_back(out, flight)
