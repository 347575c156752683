"""Jobs that run: begun, finished, given back, over their limits, cancelled, or no longer ours."""

from __future__ import annotations

import heapq

from celeriac.core.engine.breaking import begun, break_off, limits_of, over_hard_limit, terminate
from celeriac.core.engine.children import condemn, kill, leave_if_empty, retiring
from celeriac.core.engine.dispatch import recall
from celeriac.core.engine.effects import Interrupt, SettleItem
from celeriac.core.engine.events import Cancelled, Finished, LeaseLost, Now, Returned, Started
from celeriac.core.engine.settling import end_broken, revoke, take_back
from celeriac.core.engine.staffing import relieve, retire_spare
from celeriac.core.engine.state import END, EPSILON_S, KILL, RETIRE_WAIT_S, SOFT, SPARE, Child, Flight, Out, State
from celeriac.core.engine.waits import stop_waiting
from celeriac.model.states import FAILURE, RETRY

ALARMS_MANY = 1024
"""From so many alarms on it is worth looking for stale ones."""
_STALE_PER_LIVE = 8
"""So many times more alarms than jobs, and most are stale: then clearing them costs little for each."""
_CUT_SHORT = frozenset({FAILURE, RETRY})
"""What a run comes to that was told to end: an error like any other to its body. The node knows which end it was."""


def on_finished(state: State, event: Finished, now: Now, out: Out) -> None:
    """A job ended in its child: settle it with all that must be committed with it."""
    child = state.children.get(event.child)
    if child is None:
        return
    flight = child.flights.pop(event.seq, None)
    if flight is not None and flight.confirming:
        child.flights[event.seq] = flight  # it was never sent: no child can have finished it
    elif flight is not None:
        if not child.done:
            state.learning.append(child)
        child.done += 1
        child.proven = True
        if flight.started_at is not None:
            child.seen -= 1
            if flight.waiting:
                stop_waiting(state, child, flight, now, out)
        if flight.lost:
            pass
        elif flight.broken and flight.final is not None and not flight.concluding and event.state in _CUT_SHORT:
            end_broken(state, out, now, flight, flight.final)
        else:
            verdict = flight.verdict or event.verdict
            receipt = None if flight.acked else flight.arrival.delivery.receipt
            out.items.append(SettleItem(receipt, verdict, event.records, event.follow_ups))
    if not child.flights and child.home.spares:
        relieve(state, child, now)
    if event.retiring and not child.retired:
        retiring(state, child, now, out)
    if child.leaving and not child.retired:
        leave_if_empty(state, child, now, out)


def on_started(state: State, event: Started, now: Now, out: Out) -> None:
    """A job was seen in its body: its time limits count from there."""
    child = state.children.get(event.child)
    flight = child.flights.get(event.seq) if child is not None else None
    if child is not None and flight is not None and flight.started_at is None and not flight.confirming:
        begun(state, child, flight, event.at, now, out)


def on_returned(state: State, event: Returned, now: Now, out: Out) -> None:
    """A child gave jobs back that it had not begun. Those it was asked for and kept, it has begun.

    Unless it is about to end: then it gives back all it has, unasked, and later frames never reach it.
    """
    child = state.children.get(event.child)
    if child is None:
        return
    asked = child.recalls.popleft() if child.recalls else ()
    back: list[Flight] = []
    for seq in event.seqs:
        flight = child.flights.get(seq)
        if flight is None or flight.confirming:
            continue
        del child.flights[seq]
        if flight.started_at is not None:
            child.seen -= 1
            flight.started_at = None
            if flight.waiting:
                stop_waiting(state, child, flight, now, out)
        back.append(flight)
    take_back(state, out, now, back)
    for seq in () if child.retired else asked:
        flight = child.flights.get(seq)
        if flight is not None:
            flight.recalled = False
            if flight.started_at is None:
                begun(state, child, flight, now.monotonic, now, out)
    if child.leaving and not child.retired:
        leave_if_empty(state, child, now, out)


def ring(state: State, now: Now, out: Out) -> None:
    """Act on the alarms that are due."""
    if len(state.alarms) > ALARMS_MANY:
        _drop_stale_alarms(state)
    alarms = state.alarms
    t = now.monotonic
    while alarms and alarms[0][0] <= t:
        _, kind, child_id, seq = heapq.heappop(alarms)
        child = state.children.get(child_id)
        if child is None:
            continue
        if kind == END:
            _end(state, child, now, out)
            continue
        if kind == SPARE:
            retire_spare(state, child, now, out)
            continue
        flight = child.flights.get(seq)
        if flight is None:
            continue
        if kind == KILL:
            condemn(state, child, now, out)
        elif flight.started_at is not None and not flight.broken:
            limit_s = limits_of(state, flight)[kind]
            # A job that came back and began anew has a new limit, and an alarm of its own.
            if limit_s is None or flight.started_at + limit_s > t + EPSILON_S:
                continue
            if kind == SOFT:
                out.effects.append(Interrupt(child_id, seq, "soft"))
            else:
                over_hard_limit(state, child, flight, limit_s, now, out)


def _drop_stale_alarms(state: State) -> None:
    """Forget the alarms of jobs that are over: with long limits and short jobs they would pile up for hours."""
    children = state.children
    live = sum(len(child.flights) for child in children.values()) + len(children)
    if len(state.alarms) < _STALE_PER_LIVE * live:
        return
    kept = [
        alarm
        for alarm in state.alarms
        if alarm[2] in children and (alarm[1] >= END or alarm[3] in children[alarm[2]].flights)
    ]
    heapq.heapify(kept)
    state.alarms = kept


def _end(state: State, child: Child, now: Now, out: Out) -> None:
    if child.flights and not child.condemned:
        # It ends when they do; their own limits bound them.
        state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)
    else:
        kill(child, out)


def on_cancelled(state: State, event: Cancelled, now: Now, out: Out) -> None:
    """Tasks were cancelled: what has not begun never will; what runs is ended if `terminate` says so."""
    ids = set(event.ids)
    signal = event.signal if event.terminate else ""
    for line in state.lines:
        for flight in [flight for flight in line if flight.head.id in ids and not flight.concluding]:
            line.remove(flight)
            revoke(state, out, now, flight)
    for flight in state.confirming.values():
        if flight.head.id in ids:
            flight.cancel = signal
    for child in state.children.values():
        unseen: list[Flight] = []
        for flight in child.flights.values():
            if flight.head.id not in ids or flight.concluding or flight.lost or flight.confirming:
                continue
            if flight.started_at is None:
                flight.cancel = signal
                if not flight.recalled:
                    unseen.append(flight)
            elif signal:
                terminate(state, child, flight, signal, now, out)
        if unseen:
            recall(child, unseen, out)


def on_lease_lost(state: State, event: LeaseLost, now: Now, out: Out) -> None:
    """Others may run these now: drop what has not begun, end what runs, and settle none of it.

    Those that were acknowledged at their start, or are about to be, hold no lease that could be lost: a renewal that
    does not find them says nothing, their confirmation does.
    """
    receipts = set(event.receipts)
    for line in state.lines:
        for flight in [flight for flight in line if flight.receipt in receipts]:
            line.remove(flight)
    for child in state.children.values():
        unseen: list[Flight] = []
        for flight in child.flights.values():
            if flight.confirming or flight.lost or flight.receipt not in receipts:
                continue
            flight.lost = True
            if flight.started_at is not None:
                break_off(state, child, flight, now, out)
            elif not flight.recalled:
                unseen.append(flight)
        if unseen:
            recall(child, unseen, out)
