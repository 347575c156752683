"""What becomes of a message on its arrival."""

from __future__ import annotations

from math import inf

from celeriac.core.engine.effects import Final, Note, SettleItem
from celeriac.core.engine.events import Arrival, Delivered, Now
from celeriac.core.engine.settling import ACK, BACK, REVOKED_FINAL, conclude, settle_arrival
from celeriac.core.engine.state import ALONE_WAIT_S, UNKNOWN_NAMES_MAX, UNKNOWN_NOTE_S, Flight, Out, Pool, State
from celeriac.model.message import Bury, Head
from celeriac.model.policy import TaskPolicy
from celeriac.model.states import FAILURE, REVOKED

_EXPIRED = Final(REVOKED, "TaskRevokedError", ("expired",))
_ONCE_MEMORY = 16.0
"""About so many arrivals back the share of at-most-once tasks is remembered."""
_PINNED_HOLD_S = 0.5
"""With a pinned prefetch, so long is kept what finds no slot: it is wanted here, but other pools must get through."""
_ONCE_RARE = 0.001
"""A share below this is none."""


def on_delivered(state: State, event: Delivered, now: Now, out: Out) -> None:
    """The broker gave messages: refuse what must not run, queue the rest."""
    state.asked = 0
    if state.stopping:
        out.items.extend(SettleItem(arrival.delivery.receipt, BACK) for arrival in event.arrivals)
        return
    tasks = state.tasks
    backlog, mixed = state.home.backlog, state.mixed
    wall = now.wall
    release_at = inf
    if not state.pinned:
        release_at = now.monotonic + state.policy.hand_back_s - state.policy.overrun_s
    elif mixed:
        release_at = now.monotonic + _PINNED_HOLD_S
    first = seq = state.next_seq
    once = 0
    for arrival in event.arrivals:
        head = arrival.head
        delivery = arrival.delivery
        if head is None or arrival.fault is not None:
            _faulty(arrival, out)
            continue
        task = tasks.get(head.task)
        expires_at = head.expires_at
        if task is None or delivery.crashes or delivery.cancelled or (expires_at is not None and expires_at <= wall):
            state.next_seq = seq
            _unusual(state, arrival, head, task, now, release_at, out)
            seq = state.next_seq
            continue
        flight = Flight(seq, arrival, head, task, task.acks_late is False, release_at=release_at)
        seq += 1
        once += flight.once
        if mixed:
            backlog = state.pool_of(task).backlog
        backlog.append(flight)
    state.next_seq = seq
    if mixed:
        for pool in state.pools.values():
            _learn_once_mixed(state, pool, first)
    elif once or state.home.once_share:
        _learn_once(state, state.home, once, len(event.arrivals), first)


def _learn_once_mixed(state: State, pool: Pool, first: int) -> None:
    new = [flight.once for flight in pool.backlog if flight.seq >= first]
    once = sum(new)
    if once or (new and pool.once_share):
        _learn_once(state, pool, once, len(new), first)


def _learn_once(state: State, pool: Pool, once: int, arrivals: int, first: int) -> None:
    if not arrivals:
        return
    share = pool.once_share
    share += (once / arrivals - share) * arrivals / (arrivals + _ONCE_MEMORY)
    pool.once_share = share if share > _ONCE_RARE else 0.0
    if once and not state.pinned:
        # They wait until a slot is empty, and what came with them waits behind them: as long as a reserve lasts.
        for flight in pool.backlog:
            if flight.seq >= first and not flight.concluding:
                flight.release_at += state.policy.reserve_s


def _unusual(
    state: State, arrival: Arrival, head: Head, task: TaskPolicy | None, now: Now, release_at: float, out: Out
) -> None:
    """A message that was cancelled, has expired, has crashed before, or whose task is not known here."""
    if arrival.delivery.cancelled:
        _end(state, arrival, head, task, REVOKED_FINAL, now, out)
    elif head.expires_at is not None and head.expires_at <= now.wall:
        _end(state, arrival, head, task, _EXPIRED, now, out)
    elif task is None:
        _unknown(state, arrival, head, now, out)
    else:
        flight = Flight(state.take_seq(), arrival, head, task, task.acks_late is False, release_at=release_at)
        if arrival.delivery.crashes >= state.policy.crash_limit:
            _poison(state, flight, now, out)
        elif state.is_suspect(flight, state.pool_of(task)):
            flight.release_at = now.monotonic + ALONE_WAIT_S
            state.line_of(flight).append(flight)
        else:
            state.line_of(flight).append(flight)


def _end(state: State, arrival: Arrival, head: Head, task: TaskPolicy | None, final: Final, now: Now, out: Out) -> None:
    """End a message before its run."""
    if head.linked:
        flight = Flight(state.take_seq(), arrival, head, task or TaskPolicy(head.task))
        conclude(state, out, now, flight, ACK, final, again=True)
    else:
        settle_arrival(out, arrival, ACK, final, task)


def _faulty(arrival: Arrival, out: Out) -> None:
    reason = arrival.fault or "the head of the message could not be read"
    settle_arrival(out, arrival, Bury(reason), Final(FAILURE, "DecodeError", (reason,)), None)
    message = arrival.delivery.message
    fields = {"id": message.id, "queue": message.queue, "reason": reason}
    out.effects.append(Note("error", "message_buried", "A message cannot be read: it is a dead letter now.", fields))


def _poison(state: State, flight: Flight, now: Now, out: Out) -> None:
    crashes = flight.arrival.delivery.crashes
    reason = f"{crashes} runs of this task ended with the death of their process"
    conclude(state, out, now, flight, Bury(reason), Final(FAILURE, "WorkerLostError", (reason,)), again=True)


def _unknown(state: State, arrival: Arrival, head: Head, now: Now, out: Out) -> None:
    name = head.task
    if state.policy.task_unknown == "fail":
        _end(state, arrival, head, TaskPolicy(name), Final(FAILURE, "NotRegistered", (name,)), now, out)
    else:
        reason = f"no task {name!r} is registered in this worker"
        out.items.append(SettleItem(arrival.delivery.receipt, Bury(reason, parked=True), head=head))
    noted = state.unknown_noted
    if now.monotonic - noted.get(name, -inf) >= UNKNOWN_NOTE_S:
        if len(noted) >= UNKNOWN_NAMES_MAX:
            noted.clear()
        noted[name] = now.monotonic
        fields = {"task": name, "id": head.id, "queue": arrival.delivery.message.queue}
        text = "No task of this name is registered: its messages are parked, or failed if so set, until it is."
        out.effects.append(Note("warning", "task_unknown", text, fields))
