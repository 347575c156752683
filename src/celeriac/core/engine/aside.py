"""Several pools behind one Take: a full pool must not keep the others from their work, nor make the node go in circles.

What the node takes may turn out to be for a pool that has no room. It is then set aside: handed back un-penalised, to be
delivered again a while later. The number of these is budgeted. The node asks for no more messages than would be set
aside at worst, so when the budget is used up it asks for what all pools have room for, until the budget has refilled.
Where tasks are quick, a full pool soon runs what came for it too early: that uses no budget up, but makes many questions.
So the pauses between those that brought nothing for a pool with room become longer.
"""

from __future__ import annotations

from math import inf

from celeriac.core.engine.effects import SettleItem
from celeriac.core.engine.events import Now
from celeriac.core.engine.settling import hand_back, settle_bare
from celeriac.core.engine.state import START_WAIT_S, Flight, Out, Pool, State
from celeriac.model.message import Release

_PROBES_PER_FILL = 4
"""While a pool is full, the node asks again when this part of the budget is there: few questions, not many small ones."""
_PROBE_PART = 1 / 64
_PROBE_MAX_S = 0.25
"""While a pool is full, the first pause after a fruitless question is this part of the time in which as many messages as
came may be set aside, the longest one this long: so a node with nothing but quick tasks for one pool asks hardly more
often than with that pool alone, and what somebody waits for comes soon all the same."""
_PROBE_FORGOTTEN_S = 1.0
"""When no question was due for so long after the pause, pools have had room: the next pause is a short one again."""
_AGAIN_MIN_S = 0.05
_REACH_MAX_S = 16.0
"""What is behind more messages than can be set aside in this time waits for their pool, too: longer pauses would keep
them from a pool that has room again."""
_GROWS_AFTER = 0.5
_SHRINKS_AFTER = 2.0
"""After these parts of its length the pause grows if no end was seen, or shrinks if one was."""
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
    if not state.asked:
        state.reach.asked_at = t
    if not total or not any(child.up for child in state.children.values()):
        return 0
    surplus += sum(len(pool.suspects) for pool in state.pools.values())
    budget = int(refill(state, now)) - surplus
    if least == 0:
        most = state.policy.aside_max / 2
        probe = min(total, max(1, int(most / _PROBES_PER_FILL)))
        # A question that is out already costs nothing more.
        at = -inf if state.asked else state.reach.probe_at
        if budget < probe:
            at = max(at, t + (surplus + probe - state.aside) / most) if surplus + probe <= most else inf
        if budget < probe or at > t:
            if hungry:
                state.refill_at = at
            return 0
    return min(total, least + max(0, budget))


def learn_probe(state: State, now: Now, first: int, before: int) -> None:
    """Pause before the next question while a pool is full: for longer each time if all that came, from job `first` on,
    was for such pools, and so many messages came `before` what may be behind them; none if that was all there is."""
    reach, t = state.reach, now.monotonic
    full = [pool.full_at >= reach.asked_at for pool in state.pools.values()]
    if not any(full):
        return
    came = [bool(pool.backlog) and pool.backlog[-1].seq >= first for pool in state.pools.values()]
    fruitless = any(came) and not any(new and not was_full for new, was_full in zip(came, full, strict=True))
    last_s = reach.probe_s if t - reach.probe_at <= _PROBE_FORGOTTEN_S else 0.0
    first_s = before / (state.policy.aside_max / 2) * _PROBE_PART
    reach.probe_s = min(_PROBE_MAX_S, max(first_s, 2 * last_s)) if before and fruitless else 0.0
    reach.probe_at = t + reach.probe_s


def room_to_come(pool: Pool) -> int:
    """How much room a pool will have that is started on demand, as long as none of its children is up."""
    coming = pool.started_at > -inf and any(not child.failures and not child.leaving for child in pool.hosts)
    return pool.target * pool.policy.slots if pool.dormant or coming else 0


def end_seen(state: State, now: Now) -> None:
    """The broker had less than was asked for: the node sees all there is."""
    reach, t = state.reach, now.monotonic
    reach.end_at = t
    if reach.s > state.policy.aside_s and t - reach.at >= reach.s * _SHRINKS_AFTER:
        reach.s, reach.at = max(state.policy.aside_s, reach.s / 2), t


def after_s(state: State, now: Now) -> float:
    """When a message that found no room in its pool should come again: soon, so that no slot of ours or of another node
    stays idle meanwhile; but the later, the less of the budget is left, and the more there is to see behind it."""
    reach, t = state.reach, now.monotonic
    if t - reach.used_at > reach.s:
        reach.s, reach.at = state.policy.aside_s, t
    elif t - max(reach.end_at, reach.at) > reach.s * _GROWS_AFTER:
        reach.s, reach.at = max(reach.s, min(_REACH_MAX_S, 2 * reach.s)), t
    reach.used_at = t
    spent = 1.0 - refill(state, now) / (state.policy.aside_max / 2)
    return min(reach.s, max(_AGAIN_MIN_S, spent * reach.s))


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
        pause_s = min(_ALONE_AFTER_MAX_S, state.policy.aside_s * flight.arrival.delivery.receipt.attempt)
    elif state.mixed:
        pause_s = after_s(state, now)
        state.aside -= 1
        # From now on it is the budget that bounds the questions.
        state.reach.probe_s, state.reach.probe_at = 0.0, -inf
    if flight.concluding:
        settle_bare(out, flight, pause_s)
    elif pause_s and not flight.acked:
        out.items.append(SettleItem(flight.receipt, Release(pause_s)))
    else:
        hand_back(out, flight)
