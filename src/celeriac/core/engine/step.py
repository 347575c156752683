"""The engine: `step(state, events, now) -> effects`.

A node's shell feeds it batches of events and carries out the effects it returns, in order. Between two steps the shell
waits for events, at most until `wake_at`; then it looks at the marks of its children (`Started`) and sends `Tick`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from celeriac.core.engine.arrive import on_delivered
from celeriac.core.engine.aside import release_overdue
from celeriac.core.engine.children import on_child_up, spawn, spawn_due
from celeriac.core.engine.dispatch import fill, on_confirmed
from celeriac.core.engine.drain import drain, on_stop
from celeriac.core.engine.dying import on_died
from celeriac.core.engine.effects import Effect, Settle, SettleItem
from celeriac.core.engine.events import (
    Cancelled,
    ChildUp,
    Confirmed,
    Delivered,
    Died,
    Event,
    Finished,
    LeaseLost,
    Now,
    Resize,
    Resumes,
    Returned,
    Started,
    Stop,
    Tick,
    Waits,
)
from celeriac.core.engine.hunger import hunger
from celeriac.core.engine.prefetch import learn, look
from celeriac.core.engine.running import (
    ALARMS_MANY,
    on_cancelled,
    on_finished,
    on_lease_lost,
    on_returned,
    on_started,
    ring,
)
from celeriac.core.engine.settling import BACK
from celeriac.core.engine.staffing import awaken, fill_alone, on_resize
from celeriac.core.engine.state import CONFIRM_WAIT_S, EPSILON_S, Out, State
from celeriac.core.engine.waits import on_resumes, on_waits
from celeriac.model.policy import EnginePolicy, TaskPolicy


def _nothing(state: State, event: Tick, now: Now, out: Out) -> None:
    """Time alone: what is due is done after the events."""


_HANDLERS: dict[type[Event], Callable[[State, Any, Now, Out], None]] = {
    Delivered: on_delivered,
    ChildUp: on_child_up,
    Started: on_started,
    Finished: on_finished,
    Waits: on_waits,
    Resumes: on_resumes,
    Returned: on_returned,
    Died: on_died,
    Confirmed: on_confirmed,
    LeaseLost: on_lease_lost,
    Cancelled: on_cancelled,
    Resize: on_resize,
    Stop: on_stop,
    Tick: _nothing,
}


def new_state(policy: EnginePolicy, tasks: Mapping[str, TaskPolicy]) -> State:
    """The state of a node that has done nothing yet. `tasks` are the registered ones, by name."""
    return State(policy, tasks)


def start(state: State, now: Now) -> list[Effect]:  # noqa: ARG001 - every step knows the time, this one needs it not
    """What a node does first: start its children."""
    out = Out()
    for pool in state.pools.values():
        if not pool.dormant:
            for _ in range(pool.target):
                spawn(state, out, pool)
    state.wake_at = None
    return out.effects


def step(state: State, events: Sequence[Event], now: Now) -> list[Effect]:
    """Take in what has happened, in this order, and say what to do about it.

    After `Exit` only late deliveries are answered: they go back to the broker.
    """
    out = Out()
    if state.exited:
        _refuse(events, out)
    else:
        for event in events:
            _HANDLERS[type(event)](state, event, now, out)
        # What has nothing to do is not called: this runs several times for each task of an idle worker.
        t, alarms = now.monotonic, state.alarms
        if state.learning:
            learn(state, now)
        if alarms and (alarms[0][0] <= t or len(alarms) > ALARMS_MANY):
            ring(state, now, out)
        if state.spawns:
            spawn_due(state, now, out)
        if state.look_at <= t + EPSILON_S:
            look(state, now, out)
        for pool in state.pools.values():
            if pool.backlog or pool.suspects:
                if pool.dormant and not state.stopping:
                    awaken(state, pool, now, out)
                if pool.backlog:
                    fill(state, pool, now, out)
                if pool.suspects:
                    fill_alone(state, pool, now, out)
                if pool.backlog or pool.suspects:
                    release_overdue(state, pool, out, now)
        hunger(state, now, out)
        if state.stopping:
            drain(state, now, out)
        state.wake_at = _next_wake(state)
    # Work for children first, so that they run while the node commits; then the commit, then the next claim.
    effects = out.effects
    if out.items:
        effects.append(Settle(tuple(out.items)))
    if out.take is not None:
        effects.append(out.take)
    if out.exit is not None:
        effects.append(out.exit)
    return effects


def wake_at(state: State, now: Now) -> float | None:
    """The monotonic time by which `step` wants a `Tick`, or None while only events can change something.

    Before that Tick the shell looks at its children's marks and reports what it sees as `Started`.
    """
    at = state.wake_at
    return None if at is None else max(at, now.monotonic)


def _refuse(events: Sequence[Event], out: Out) -> None:
    for event in events:
        if isinstance(event, Delivered):
            out.items.extend(SettleItem(arrival.delivery.receipt, BACK) for arrival in event.arrivals)


def _next_wake(state: State) -> float | None:
    """When time alone changes something; and what must hold between any two steps."""
    assert 0 <= state.asked <= state.policy.batch_max, "a Take is out that asks for more than a batch"
    assert not (state.exited and not state.idle()), "the node ends while it holds jobs"
    look_at = inf
    for child in state.children.values():
        assert 0 <= child.seen <= len(child.flights), "more jobs were seen to begin than the child holds"
        assert child.up or not child.flights, "a child that is not up holds jobs"
        look_at = min(look_at, child.look_at)
    state.look_at = look_at
    if state.exited:
        return None
    at = min(look_at, state.alarms[0][0]) if state.alarms else look_at
    for line in state.lines:
        for flight in line:
            at = min(at, flight.release_at)
    for due in state.spawns:
        at = min(at, due.at)
    at = min(at, state.refill_at)
    if state.stopping:
        at = min(at, state.waits_note_at, state.ends_at + CONFIRM_WAIT_S if state.over else state.ends_at)
    return None if at == inf else at
