"""Jobs that run: begun, finished, given back, over their limits, cancelled, or no longer ours."""

from __future__ import annotations

import heapq

from celeriac.core.engine.children import condemn, kill, leave_if_empty, retiring
from celeriac.core.engine.dispatch import recall
from celeriac.core.engine.effects import Final, Interrupt, Note, SettleItem
from celeriac.core.engine.events import Cancelled, Finished, LeaseLost, Now, Returned, Started
from celeriac.core.engine.settling import revoke, take_back
from celeriac.core.engine.state import END, EPSILON_S, HARD, KILL, RETIRE_WAIT_S, SOFT, Child, Flight, Out, State
from celeriac.model.states import FAILURE, REVOKED

ALARMS_MANY = 1024
"""From so many alarms on it is worth looking for stale ones."""
_STALE_PER_LIVE = 8
"""So many times more alarms than jobs, and most are stale: then clearing them costs little for each."""


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
        if not flight.lost:
            verdict = flight.verdict or event.verdict
            receipt = None if flight.acked else flight.arrival.delivery.receipt
            out.items.append(SettleItem(receipt, verdict, event.records, event.follow_ups))
    if event.retiring and not child.retired:
        retiring(state, child, now, out)
    if child.leaving and not child.retired:
        leave_if_empty(state, child, now, out)


def on_started(state: State, event: Started, now: Now, out: Out) -> None:
    """A job was seen in its body: its time limits count from there."""
    child = state.children.get(event.child)
    flight = child.flights.get(event.seq) if child is not None else None
    if child is not None and flight is not None and flight.started_at is None and not flight.confirming:
        _begun(state, child, flight, event.at, now, out)


def _begun(state: State, child: Child, flight: Flight, at: float, now: Now, out: Out) -> None:
    flight.started_at = at
    child.seen += 1
    if flight.lost:
        _break_off(state, child, flight, now, out)
        return
    if flight.cancel and not flight.concluding:
        _terminate(state, child, flight, flight.cancel, now, out)
    soft, hard = limits_of(state, flight)
    if soft is not None:
        state.alarm(at + soft, SOFT, child.id, flight.seq)
    if hard is not None:
        state.alarm(at + hard, HARD, child.id, flight.seq)


def limits_of(state: State, flight: Flight) -> tuple[float | None, float | None]:
    """The soft and the hard limit of a job: the message's own, else the task's, else the worker's."""
    head, task, policy = flight.head, flight.task, state.policy
    soft, hard = head.soft_time_limit_s, head.time_limit_s
    if soft is None:
        soft = task.soft_time_limit_s if task.soft_time_limit_s is not None else policy.soft_time_limit_s
    if hard is None:
        hard = task.time_limit_s if task.time_limit_s is not None else policy.time_limit_s
    return soft, hard


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
        back.append(flight)
    take_back(state, out, now, back)
    for seq in () if child.retired else asked:
        flight = child.flights.get(seq)
        if flight is not None:
            flight.recalled = False
            if flight.started_at is None:
                _begun(state, child, flight, now.monotonic, now, out)
    if child.leaving and not child.retired:
        leave_if_empty(state, child, now, out)


def _break_off(state: State, child: Child, flight: Flight, now: Now, out: Out) -> None:
    """End a running job by force; its child too if it does not obey."""
    if flight.broken:
        return
    flight.broken = True
    child.broken_at = now.monotonic
    out.effects.append(Interrupt(child.id, flight.seq, "hard"))
    state.alarm(now.monotonic + state.policy.interrupt_wait_s, KILL, child.id, flight.seq)


def _terminate(state: State, child: Child, flight: Flight, signal: str, now: Now, out: Out) -> None:
    """End a running job because somebody asked for it."""
    if flight.final is not None or flight.lost:
        return
    flight.final = Final(REVOKED, "TaskRevokedError", ("terminated",))
    flight.broken = True
    child.broken_at = now.monotonic
    out.effects.append(Interrupt(child.id, flight.seq, "terminate", signal))
    # A job may ignore the signal; then its process ends.
    state.alarm(now.monotonic + state.policy.interrupt_wait_s, KILL, child.id, flight.seq)


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
                _over_hard_limit(state, child, flight, limit_s, now, out)


def _drop_stale_alarms(state: State) -> None:
    """Forget the alarms of jobs that are over: with long limits and short jobs they would pile up for hours."""
    children = state.children
    live = sum(len(child.flights) for child in children.values()) + len(children)
    if len(state.alarms) < _STALE_PER_LIVE * live:
        return
    kept = [
        alarm
        for alarm in state.alarms
        if alarm[2] in children and (alarm[1] == END or alarm[3] in children[alarm[2]].flights)
    ]
    heapq.heapify(kept)
    state.alarms = kept


def _end(state: State, child: Child, now: Now, out: Out) -> None:
    if child.flights and not child.condemned:
        # It ends when they do; their own limits bound them.
        state.alarm(now.monotonic + RETIRE_WAIT_S, END, child.id)
    else:
        kill(child, out)


def _over_hard_limit(state: State, child: Child, flight: Flight, limit_s: float, now: Now, out: Out) -> None:
    if flight.final is None:
        flight.final = Final(FAILURE, "TimeLimitExceeded", (limit_s,))
    fields = {"id": flight.head.id, "task": flight.head.task, "limit_s": limit_s, "child": child.id}
    out.effects.append(
        Note("error", "time_limit_exceeded", "A task ran over its hard time limit: it is ended.", fields)
    )
    _break_off(state, child, flight, now, out)


def on_cancelled(state: State, event: Cancelled, now: Now, out: Out) -> None:
    """Tasks were cancelled: what has not begun never will; what runs is ended if `terminate` says so."""
    ids = set(event.ids)
    signal = event.signal if event.terminate else ""
    here = [flight for flight in state.backlog if flight.head.id in ids and not flight.concluding]
    for flight in here:
        state.backlog.remove(flight)
        revoke(out, flight)
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
                _terminate(state, child, flight, signal, now, out)
        if unseen:
            recall(child, unseen, out)


def on_lease_lost(state: State, event: LeaseLost, now: Now, out: Out) -> None:
    """Others may run these now: drop what has not begun, end what runs, and settle none of it.

    Those that were acknowledged at their start, or are about to be, hold no lease that could be lost: a renewal that
    does not find them says nothing, their confirmation does.
    """
    receipts = set(event.receipts)
    for flight in [flight for flight in state.backlog if flight.receipt in receipts]:
        state.backlog.remove(flight)
    for child in state.children.values():
        unseen: list[Flight] = []
        for flight in child.flights.values():
            if flight.confirming or flight.lost or flight.receipt not in receipts:
                continue
            flight.lost = True
            if flight.started_at is not None:
                _break_off(state, child, flight, now, out)
            elif not flight.recalled:
                unseen.append(flight)
        if unseen:
            recall(child, unseen, out)
